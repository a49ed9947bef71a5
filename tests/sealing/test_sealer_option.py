"""A handler with a sealer: nothing that it hands out is plain, and it takes back what it handed out."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from ldclient import Context

from langchain_ldai import InvalidResumptionTokenError, LdAiClient, LdAiHandler, RunReport
from langchain_ldai._wire.tokens import is_token
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, chain
from tests.support.models import ScriptedChat
from tests.support.observe import TOKEN


def stream(ai: LdAiClient, context: Context, reports: list[RunReport], **options: object) -> None:
    """Stream a chain with a handler of its own."""
    config = {"metadata": options.pop("metadata", {})}
    handler = LdAiHandler(ai.completion_config("support-bot", context), on_run_end=reports.append, **options)
    list(chain().stream(QUESTION, {"callbacks": [handler], **config}))


class Backwards:
    """A stand-in for a sealer: a sealed token is the token backwards."""

    def seal(self, token: str) -> str:
        """Turn it round."""
        return token[::-1]

    def unseal(self, sealed: str) -> str:
        """Turn it back; a plain token is refused."""
        if sealed.startswith("ey"):
            raise InvalidResumptionTokenError("a plain token")
        return sealed[::-1]


def texts(value: object) -> list[str]:
    """Return every text within a value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.items() for text in texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in texts(item)]
    return [text for name in getattr(value, "__slots__", ()) for text in texts(getattr(value, name))]


def travel(ai: LdAiClient, context: Context, handler_of: Callable[..., LdAiHandler]) -> None:
    """Run a graph with a handler for an agent graph, and a named node beside."""
    node = ai.completion_config("support-bot", context)
    handler = handler_of(ai.agent_graph("travel", context), nodes={"writer": node})
    graph = StateGraph(MessagesState)
    for name in ("plan", "writer"):
        graph.add_node(name, lambda state: {"messages": [ScriptedChat().invoke(state["messages"])]})
    graph.add_edge(START, "plan").add_edge("plan", "writer")
    graph.compile().invoke({"messages": [("user", "Hi")]}, {"callbacks": [handler]})


def test_nothing_in_a_report_is_plain(context: Context, client: RecordingClient, reports: list[RunReport]) -> None:
    """The report, its summary, and those of its nodes have sealed tokens, which the sealer opens."""
    client.set_flag("travel", {"root": "plan", "edges": {}})
    client.set_flag("plan", {"_ldMeta": {"enabled": True, "mode": "agent"}})
    sealer = TokenSealer([TokenSealer.generate_key()])

    travel(
        LdAiClient(client),
        context,
        lambda config, **given: LdAiHandler(config, on_run_end=reports.append, sealer=sealer, **given),
    )

    (report,) = reports
    assert [text for text in texts(report) if is_token(text)] == []
    assert set(report.nodes) == {"plan", "writer"}
    for part in (report, *report.nodes.values()):
        assert part.summary.resumption_token == part.resumption_token
        assert is_token(sealer.unseal(part.resumption_token))


def test_the_metadata_has_the_sealed_token_and_the_run_id_alone(
    ai: LdAiClient, context: Context, reports: list[RunReport]
) -> None:
    """Tracers and clients see no key of the AI Config or its variation."""
    config = ai.completion_config("support-bot", context)
    handler = LdAiHandler(config, on_run_end=reports.append, sealer=Backwards())

    async def events() -> list[dict[str, object]]:
        found = chain().astream_events(QUESTION, {"callbacks": [handler]}, version="v2")
        return [event["metadata"] async for event in found]

    marks = [
        {name: value for name, value in metadata.items() if name.startswith("ldai_")}
        for metadata in asyncio.run(events())
    ]
    (report,) = reports
    assert all(found == {TOKEN: report.resumption_token, "ldai_run_id": report.run_id} for found in marks)


def test_a_tracker_inside_the_process_keeps_the_plain_token(ai: LdAiClient, context: Context) -> None:
    """What adds to the run here needs no sealer."""
    config, seen = ai.completion_config("support-bot", context), []
    handler = LdAiHandler(config, sealer=Backwards())

    def look(answer, config):
        seen.append(LdAiHandler.current_tracker(config).resumption_token)

    with handler.collect_runs() as runs:
        (chain() | look).invoke(QUESTION, {"callbacks": [handler]})

    assert seen == [runs[0].resumption_token[::-1]]
    assert is_token(seen[0])


def test_a_run_goes_on_by_its_sealed_token(
    ai: LdAiClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """With a sealer, `resume` takes a sealed token; a plain one opens a new run, and the log says what to give."""
    plain = ai.completion_config("support-bot", context).create_tracker().resumption_token
    options = {"resume": True, "sealer": Backwards()}

    stream(ai, context, reports, metadata={TOKEN: plain[::-1]}, **options)
    stream(ai, context, reports, metadata={TOKEN: plain}, **options)

    assert [report.resumption_token == plain[::-1] for report in reports] == [True, False]
    (message,) = caplog.messages
    assert "'support-bot': a run is not continued, a new one opens" in message
    assert "give the token that it sealed" in message


@pytest.mark.parametrize("given", ["nonsense", 5], ids=repr)
def test_what_is_no_token_at_all_is_not_taken_for_a_plain_one(
    given: object, ai: LdAiClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """A new run opens, and the log says what the sealer found."""
    sealer = TokenSealer([TokenSealer.generate_key()])

    stream(ai, context, reports, metadata={TOKEN: given}, resume=True, sealer=sealer)

    assert len(reports) == 1
    (message,) = caplog.messages
    assert "a run is not continued, a new one opens" in message
    assert "give the token that it sealed" not in message


def test_a_sealed_token_without_a_sealer_says_so(
    ai: LdAiClient, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """The other way round, too; and once, however many runs there are."""
    sealer = TokenSealer([TokenSealer.generate_key()])
    config = ai.completion_config("support-bot", context)
    handler = LdAiHandler(config, resume=True)

    for _ in range(3):
        sealed = sealer.seal(config.create_tracker().resumption_token)
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {TOKEN: sealed}})

    (message,) = caplog.messages
    assert "'support-bot'" in message
    assert "sealed one: give sealer.unseal(token), or give the handler the sealer" in message
    assert sealed not in message


@pytest.mark.parametrize("kind", ["sealed", "run id"])
def test_what_is_no_plain_token_is_named(kind: str, ai: LdAiClient, context: Context) -> None:
    """Whoever gives a sealed token, or the run's id, learns what it is."""
    tracker = ai.completion_config("support-bot", context).create_tracker()
    sealed = TokenSealer([TokenSealer.generate_key()]).seal(tracker.resumption_token)
    given, said = {
        "sealed": (sealed, "a sealed one: give sealer.unseal"),
        "run id": (tracker.run_id, "the id of a run; give the run's resumption_token"),
    }[kind]

    with pytest.raises(InvalidResumptionTokenError, match=said):
        ai.create_tracker(given, context)


@pytest.mark.parametrize("given", [OSError(), None, 5, ""], ids=repr)
def test_a_sealer_that_fails_leaves_the_run_alone(
    given: object, ai: LdAiClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """What a sealer raises, or gives instead of text, is logged; the chain goes on, and nothing plain is shown."""

    class Fails(Backwards):
        def seal(self, token: str) -> str:
            if isinstance(given, Exception):
                raise given
            return given

    stream(ai, context, reports, sealer=Fails())

    assert reports == []
    (record,) = caplog.records
    assert "sealer.seal() failed, this run is not counted" in record.message


def test_a_sealer_that_cannot_unseal_costs_no_run(
    ai: LdAiClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, a new run opens, and the log says so."""

    class Fails(Backwards):
        def unseal(self, sealed: str) -> str:
            raise OSError

    stream(ai, context, reports, sealer=Fails(), resume=True, metadata={TOKEN: "x"})

    assert len(reports) == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "A run is not continued, a new one opens" in record.message
