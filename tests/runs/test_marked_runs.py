"""Runs whose spans another package makes: `spans="mark"` marks their roots, and they are remembered a while."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai._runs.marked_runs import ENDED_SECONDS, MAX_ENDED, MarkedRuns
from langchain_ldai._runs.trackers import Served, adapter_of, served_by
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.chains import AGENT_INPUT, QUESTION, agent, chain
from tests.support.models import ScriptedChat
from tests.support.nodes import graph


class Marks(BaseCallbackHandler):
    """Keeps what the metadata of each start event says of the run's root, after the id of the run."""

    run_inline = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []

    def on_chain_start(self, serialized, inputs, *, metadata=None, **kwargs) -> None:
        self.seen.append((metadata["ldai_run_id"], metadata.get("ldai_run_root")))

    on_chat_model_start = on_tool_start = on_chain_start


def invoke(runnable: Runnable, value: object, config) -> None:
    """Run it."""
    runnable.invoke(value, config)


def ainvoke(runnable: Runnable, value: object, config) -> None:
    """Run it on an event loop."""
    asyncio.run(runnable.ainvoke(value, config))


def begin(runs: MarkedRuns, config: LdAiCompletionConfig, *run_ids: str) -> list[Callable[[], None]]:
    """Begin a run for each id, and return what ends each."""
    trackers = [adapter_of(config.create_tracker(run_id=run_id)) for run_id in run_ids]
    begun = [runs.begin(config, tracker, {}, None) for tracker in trackers]
    return [lambda run=run: run.run_closed(None) for run in begun]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, which stands still."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("way", [invoke, ainvoke])
@pytest.mark.parametrize(("runnable", "value"), [(agent, AGENT_INPUT), (chain, QUESTION), (ScriptedChat, "How?")])
def test_the_root_alone_is_marked_as_one(config: LdAiCompletionConfig, way, runnable, value) -> None:
    """Every other step says that it is none, as some packages hand metadata down from span to span."""
    marks = Marks()

    way(runnable(), value, {"callbacks": [LdAiHandler(config, spans="mark"), marks]})

    assert [is_root for _, is_root in marks.seen] == ["true", *["false"] * (len(marks.seen) - 1)]


def test_a_named_node_has_a_root_of_its_own(config: LdAiCompletionConfig) -> None:
    """It begins at the node's first visit alone; LangChain merges handlers there, ours first (fact 175)."""
    visit = RunnableLambda(lambda state: ScriptedChat().invoke("How?") and {"done": True})
    twice = graph(visit) | graph(visit)
    marks, handler = Marks(), LdAiHandler(config, nodes={"node-0": config}, spans="mark")

    twice.invoke({"done": False}, {"callbacks": [handler, marks]})

    of_run = [is_root for run_id, is_root in marks.seen if run_id == marks.seen[0][0]]
    of_node = [is_root for run_id, is_root in marks.seen if run_id != marks.seen[0][0]]
    assert of_run == ["true", "false", "false"]
    assert of_node == ["true", *["false"] * (len(of_node) - 1)]
    assert len(of_node) > 2


def test_of_visits_in_several_threads_one_is_the_first(config: LdAiCompletionConfig) -> None:
    """Whichever asks first begins the node's run."""
    marks = MarkedRuns().begin(config, adapter_of(config.create_tracker()), {}, None).marks({})
    barrier = Barrier(8)

    def start_visit(_: int) -> str:
        barrier.wait()
        return dict(marks)["ldai_run_root"]

    with ThreadPoolExecutor(8) as pool:
        positions = list(pool.map(start_visit, range(8)))

    assert sorted(positions) == ["false"] * 7 + ["true"]


def test_the_marks_are_those_of_every_run_and_one_more(config: LdAiCompletionConfig) -> None:
    """Who begins the run reads that it is the root, and the next that it is not."""
    run = MarkedRuns().begin(config, adapter_of(config.create_tracker()), {}, None)
    marks = run.marks({"ldai_run_id": "run-1"})

    assert len(marks) == 2
    assert dict(marks) == {"ldai_run_id": "run-1", "ldai_run_root": "true"}
    assert dict(marks) == {"ldai_run_id": "run-1", "ldai_run_root": "false"}


def test_without_the_option_no_root_is_marked(handler: LdAiHandler) -> None:
    """The metadata has one key less."""
    marks = Marks()

    chain().invoke(QUESTION, {"callbacks": [handler, marks]})

    assert {is_root for _, is_root in marks.seen} == {None}


def test_another_word_is_an_error(config: LdAiCompletionConfig) -> None:
    """The error names the word, and what there is."""
    with pytest.raises(ValueError, match=r"^spans is \"mark\" or a langchain_ldai.spans.Spans, not 'marks'$"):
        LdAiHandler(config, spans="marks")  # type: ignore[arg-type]


def test_a_run_is_known_while_it_is_open_and_after_it(config: LdAiCompletionConfig) -> None:
    """Its spans may be exported before its end and after it."""
    handler, during = LdAiHandler(config, spans="mark"), []

    def look(value: object, config) -> object:
        during.append(handler._marked_runs.served(LdAiHandler.current_tracker(config).run_id))
        return value

    with handler.collect_runs() as reports:
        (RunnableLambda(look) | ScriptedChat()).invoke("How?", {"callbacks": [handler]})

    run_id = reports[0].run_id
    expected = served_by(adapter_of(config.create_tracker()))._replace(run_id=run_id)
    assert during == [expected]
    assert handler._marked_runs.served(run_id) == expected


def test_a_run_without_a_model_call_is_known_too(config: LdAiCompletionConfig) -> None:
    """It has no report, but spans all the same."""
    marks, handler = Marks(), LdAiHandler(config, spans="mark")

    RunnableLambda(lambda value: value).invoke("How?", {"callbacks": [handler, marks]})

    assert handler._marked_runs.served(marks.seen[0][0]).config_key == "support-bot"


def test_an_unknown_run_was_served_nothing() -> None:
    """What another handler counts is not known."""
    assert MarkedRuns().served("run-1") is None


def test_an_ended_run_is_forgotten_after_five_minutes(config: LdAiCompletionConfig, now: list[float]) -> None:
    """Up to then it is known; an open run stays."""
    runs = MarkedRuns()
    end, _ = begin(runs, config, "run-1", "run-2")
    end()

    now[0] += ENDED_SECONDS - 1
    assert runs.served("run-1") is not None
    now[0] += 1
    assert runs.served("run-1") is None
    assert runs.served("run-2") is not None


def test_of_too_many_ended_runs_the_oldest_is_forgotten() -> None:
    """The memory is bounded."""
    runs = MarkedRuns()

    for number in range(MAX_ENDED + 1):
        runs.ended(Served(f"run-{number}", "support-bot"))

    assert runs.served("run-0") is None
    assert runs.served("run-1") is not None


def test_a_run_that_goes_on_is_remembered_from_its_last_end(
    config: LdAiCompletionConfig, now: list[float]
) -> None:
    """Its parts have one id; one that ends later is in the way of no other run that is to be forgotten."""
    runs = MarkedRuns()
    first, other, second = begin(runs, config, "run-1", "run-2", "run-1")
    first()
    other()

    now[0] += ENDED_SECONDS - 1
    second()
    now[0] += 1

    assert runs.served("run-1") is not None
    assert runs.served("run-2") is None


def test_a_run_is_known_until_the_last_of_its_open_parts_has_ended(
    config: LdAiCompletionConfig, now: list[float]
) -> None:
    """Two parts may be open at once; the end of the first ends no other."""
    runs = MarkedRuns()
    first, second = begin(runs, config, "run-1", "run-1")

    first()
    now[0] += ENDED_SECONDS
    assert runs.served("run-1") is not None
    second()
    now[0] += ENDED_SECONDS
    assert runs.served("run-1") is None


def test_a_forked_child_keeps_what_is_known(config: LdAiCompletionConfig, now: list[float]) -> None:
    """The runs that were open end in the parent: the child forgets them in time."""
    runs = MarkedRuns()
    begin(runs, config, "run-1", "run-1")

    runs.reset_after_fork()

    assert runs.served("run-1") is not None
    now[0] += ENDED_SECONDS
    assert runs.served("run-1") is None


def test_what_is_known_does_not_depend_on_metadata(client: RecordingClient, context) -> None:
    """The version and the environment are in no metadata."""
    config = LdAiClient(client, environment_id="env-1").completion_config("support-bot", context)
    handler, marks = LdAiHandler(config, spans="mark"), Marks()

    chain().invoke(QUESTION, {"callbacks": [handler, marks]})

    run_id = marks.seen[0][0]
    served = Served(run_id, "support-bot", FLAG["_ldMeta"]["variationKey"], 3, "", context, "env-1")
    assert handler._marked_runs.served(run_id) == served


def test_a_node_that_begins_as_its_run_ends_is_no_open_run(config: LdAiCompletionConfig) -> None:
    """The run may be closed while the node's AI Config is looked up; the node counts as ended then, too."""
    root = uuid4()

    def end_the_run(metadata: object) -> LdAiCompletionConfig:
        handler.on_chain_end({}, run_id=root)
        return config

    handler = LdAiHandler(config, nodes={"late": end_the_run}, spans="mark")
    handler.on_chain_start(None, {}, run_id=root, metadata={})

    handler.on_chain_start(None, {}, run_id=uuid4(), parent_run_id=root, metadata={"langgraph_node": "late"})

    assert len(handler._marked_runs._ended) == 2
    assert not handler._marked_runs._open
