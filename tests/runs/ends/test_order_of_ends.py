"""Ends that come twice, out of order, or while the handler works on another event."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from uuid import UUID

import pytest
from langgraph.errors import GraphInterrupt

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport, TokenUsage
from tests.support.events import ANSWER, call_model, start_call, start_chain, start_stream


def test_an_end_that_comes_twice_changes_nothing(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """No run opens below a root that failed, even if the failure was reported twice (fact 96)."""
    root = start_chain(handler)
    call_model(handler, root)
    for _ in range(2):
        handler.on_chain_error(ValueError(), run_id=root)

    call_model(handler, root)

    assert [(report.outcome, report.model_calls) for report in reports] == [(Outcome.ERROR, 1)]


class ReadResult:
    """A result without content; it notes when it is read."""

    llm_output = None

    def __init__(self, note: Callable[[], object]) -> None:
        self._note = note

    @property
    def generations(self) -> list[object]:
        """Note that it is read."""
        self._note()
        return []


def test_a_result_that_comes_twice_is_read_once(handler: LdAiHandler) -> None:
    """A model call that has ended tells nothing new."""
    read: list[None] = []
    call = start_call(handler, start_chain(handler))
    handler.on_llm_end(ReadResult(lambda: read.append(None)), run_id=call)
    before = len(read)

    handler.on_llm_end(ReadResult(lambda: read.append(None)), run_id=call)

    assert len(read) == before > 0


def test_a_run_that_is_closed_while_its_result_is_read_is_closed_once(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Another thread may close a run between the end of its root and the lock."""
    root = start_call(handler)

    handler.on_llm_end(ReadResult(handler.close), run_id=root)

    assert [report.outcome for report in reports] == [Outcome.ABANDONED]


def in_task(task: str, *, step: int = 1) -> dict[str, object]:
    """Return what LangGraph says of a step in a task of the node `writer`."""
    return {"langgraph_node": "writer", "langgraph_checkpoint_ns": f"writer:{task}", "langgraph_step": step}


def test_a_nodes_outcome_is_the_roots_where_the_root_ended_before_it(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """A node's visit that ends after its root changes nothing: the outcome has been sent."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    visit = start_chain(handler, root, **in_task("1"))
    call = start_call(handler, visit, **in_task("1"))
    handler.on_chain_end({}, run_id=root)

    handler.on_chain_error(ValueError(), run_id=visit)
    handler.on_llm_end(ANSWER, run_id=call)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.SUCCESS]


def test_a_visit_that_begins_after_its_root_changes_no_outcome_that_was_sent(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """While the run waits for a model call, a node may be visited once more, and fail."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    call = start_call(handler, root)
    visit = start_chain(handler, root, **in_task("1"))
    call_model(handler, visit)
    for step in (visit, root):
        handler.on_chain_end({}, run_id=step)

    handler.on_chain_error(ValueError(), run_id=start_chain(handler, root, **in_task("2", step=2)))
    handler.on_llm_end(ANSWER, run_id=call)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.SUCCESS]


@pytest.mark.parametrize(("ends", "outcome"), [(True, Outcome.ERROR), (False, Outcome.SUCCESS)])
def test_a_node_that_begins_after_its_root_ends_as_it_does_or_else_as_the_run_did(
    ends: bool, outcome: Outcome, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """While the run waits for a model call, a node may be visited for the first time."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    call = start_call(handler, root)
    handler.on_chain_end({}, run_id=root)
    visit = start_chain(handler, root, **in_task("1"))
    call_model(handler, visit)

    if ends:
        handler.on_chain_error(ValueError(), run_id=visit)
    handler.on_llm_end(ANSWER, run_id=call)

    (node,) = [report.nodes["writer"] for report in reports]
    assert (node.outcome, node.summary.success) == (outcome, not ends)


def test_a_visit_that_its_runs_error_cut_off_is_cancelled(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """What raised the error has ended, so the visit did not."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    call_model(handler, start_chain(handler, root, **in_task("1")))

    handler.on_chain_error(ValueError(), run_id=root)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.CANCELLED]


@pytest.mark.parametrize("is_closed", [False, True], ids=["read", "closed"])
def test_a_call_that_its_own_step_closed_cancels_no_run(
    is_closed: bool, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The step took what it needed, and then the stream was read to its end, or closed with nothing at work."""
    root = start_stream(handler)
    step = start_stream(handler, root)
    handler.on_llm_error(GeneratorExit(), run_id=start_call(handler, step if is_closed else root))
    if is_closed:
        handler.on_chain_end({}, run_id=step)
        handler.on_chain_error(GeneratorExit(), run_id=root)
    else:
        handler.on_chain_end({}, run_id=root)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


@pytest.mark.parametrize("number", [0, "one"])
def test_visits_of_unknown_steps_are_after_one_another(
    number: object, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Where nothing says that two visits are of one step, the last is told."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    graph = start_chain(handler, root)
    handler.on_chain_error(ValueError(), run_id=start_chain(handler, graph, **in_task("a", step=number)))
    last = start_chain(handler, graph, **in_task("b", step=number))
    call_model(handler, last)
    for step in (last, graph, root):
        handler.on_chain_end({}, run_id=step)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.SUCCESS]


def test_a_visit_whose_graph_is_over_is_beside_no_other(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """A visit that outlives its graph does not count: the visit that was made in its place is the last."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    graphs = [start_chain(handler, root) for _ in range(2)]
    left = start_chain(handler, graphs[0], **in_task("left"))
    call_model(handler, left)
    handler.on_chain_error(TimeoutError(), run_id=graphs[0])
    made = start_chain(handler, graphs[1], **in_task("made"))
    handler.on_chain_end({}, run_id=made)

    handler.on_chain_error(ValueError(), run_id=left)
    handler.on_chain_end({}, run_id=root)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.SUCCESS]


def cancel(handler: LdAiHandler, step: UUID) -> None:
    """End a step as LangGraph does with one that it stops."""
    handler.on_chain_error(asyncio.CancelledError(), run_id=step)


@pytest.mark.parametrize("place", [{}, in_task("a")], ids=["outside a graph", "in a node"])
def test_a_question_of_a_step_whose_own_caller_has_succeeded_stops_nothing(
    place: dict[str, object], config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Nobody waits for what a step asks in the background, neither the run nor, within a graph, the node."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    caller = start_chain(handler, root, **place)
    asks = start_chain(handler, caller, **place)
    call_model(handler, asks)
    handler.on_chain_end({}, run_id=caller)

    handler.on_chain_error(GraphInterrupt(), run_id=asks)
    handler.on_chain_end({}, run_id=root)

    (report,) = reports
    assert {report.outcome, *(node.outcome for node in report.nodes.values())} == {Outcome.SUCCESS}
    assert bool(report.nodes) == bool(place)


@pytest.mark.parametrize("order", ["ask graph", "ask graph node", "graph ask", "graph node ask"])
def test_a_question_that_the_runs_end_did_not_wait_for_stops_nothing(
    order: str, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangGraph goes on without a node that is out of time, and tells how things in it end in any order."""
    root = start_chain(handler)
    node = start_chain(handler, root, **in_task("a"))
    graph = start_chain(handler, node, **in_task("a"))
    asks = start_chain(handler, graph, **in_task("b"))
    call_model(handler, asks)
    ends = {
        "ask": lambda: handler.on_chain_error(GraphInterrupt(), run_id=asks),
        "graph": lambda: cancel(handler, graph),
        "node": lambda: cancel(handler, node),
    }
    for name in order.split():
        ends[name]()

    handler.on_chain_end({}, run_id=root)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


@pytest.mark.parametrize("fails", range(4))
def test_of_graphs_at_once_each_ones_last_visit_counts(
    fails: int, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Nodes of one step that are graphs themselves visit a named node twice, by turns."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    graphs = [start_chain(handler, root, **in_task(name) | {"langgraph_node": name}) for name in ("one", "two")]
    for number in range(4):
        visit = start_chain(handler, graphs[number % 2], **in_task(f"visit-{number}", step=1 + number // 2))
        call_model(handler, visit)
        if number == fails:
            handler.on_chain_error(ValueError(), run_id=visit)
        else:
            handler.on_chain_end({}, run_id=visit)
    for step in (*graphs, root):
        handler.on_chain_end({}, run_id=step)

    told = Outcome.SUCCESS if fails < 2 else Outcome.ERROR
    assert [report.nodes["writer"].outcome for report in reports] == [told]


def test_a_visit_within_a_visit_is_beside_it(config: LdAiCompletionConfig, reports: list[RunReport]) -> None:
    """A node may call itself through another node: the inner failure is the outcome if no visit follows."""
    handler = LdAiHandler(config, nodes={"writer": config, "critic": config}, on_run_end=reports.append)
    root = start_chain(handler)
    outer = start_chain(handler, root, **in_task("outer"))
    critic = start_chain(handler, outer, langgraph_node="critic", langgraph_checkpoint_ns="critic:1")
    inner = start_chain(handler, critic, **in_task("inner"))
    call_model(handler, inner)
    handler.on_chain_error(ValueError(), run_id=inner)
    for step in (critic, outer, root):
        handler.on_chain_end({}, run_id=step)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.ERROR]


class SlowToReport:
    """A tracker, and its AI Config, that does something else while its summary goes into the report."""

    def __init__(self, tracker: object, meanwhile: Callable[[], object]) -> None:
        self._tracker, self._meanwhile, self._is_recorded = tracker, meanwhile, False

    def create_tracker(self) -> "SlowToReport":
        """Return itself."""
        return self

    def track_duration(self, ms: int) -> None:
        """Note that the summary is read for the report from now on."""
        self._is_recorded = True

    def __getattr__(self, name: str) -> object:
        if name == "summary" and self._is_recorded:
            self._meanwhile()
        return getattr(self._tracker, name)


def test_a_node_that_begins_while_its_run_is_reported_costs_no_report(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """The AI Config of a node may be known only after another thread has closed the run."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def late(metadata: Mapping[str, object]) -> LdAiCompletionConfig:
        is_asked.set()
        may_answer.wait()
        return config

    def meanwhile() -> None:
        may_answer.set()
        editing.join()

    writer = SlowToReport(config.create_tracker(), meanwhile)
    handler = LdAiHandler(
        None, nodes={"writer": lambda metadata: writer, "editor": late}, on_run_end=reports.append
    )
    root = start_chain(handler)
    call_model(handler, start_chain(handler, root, langgraph_node="writer"))
    editing = threading.Thread(target=lambda: start_chain(handler, root, langgraph_node="editor"))
    editing.start()
    is_asked.wait()

    handler.close()

    assert [list(report.nodes) for report in reports] == [["writer"]]


class ReentrantId:
    """An id that ends another step when it is looked up, as Python's garbage collector may at any line."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then: Callable[[], object] | None = None
        self.later = then

    def __hash__(self) -> int:
        if self.then is not None:
            then, self.then = self.then, None
            then()
        return 5


def test_a_run_may_end_within_the_handlers_own_code(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Python may collect a stream while the handler works: its run then ends in the same thread."""
    streaming = start_chain(handler)
    call_model(handler, streaming)
    other = ReentrantId(lambda: handler.on_chain_end({}, run_id=streaming))
    handler.on_chain_start(None, {}, run_id=other, metadata={})
    call = start_call(handler, other)

    other.then = other.later
    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=other)

    assert [report.root_run_id for report in reports] == [streaming, other]


def test_a_run_that_ends_while_others_are_closed_is_closed_once(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Python may collect, and so end, one of several runs while the handler closes them."""
    other = ReentrantId(lambda: handler.on_chain_end({}, run_id=streaming))
    handler.on_chat_model_start({}, [[]], run_id=other, metadata={})
    streaming = start_chain(handler)
    call_model(handler, streaming)

    other.then = other.later
    handler.close()

    assert sorted(report.outcome for report in reports) == [Outcome.ABANDONED, Outcome.SUCCESS]


def test_a_step_may_take_the_id_of_its_ended_root(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Below a step that is open, a step may reuse the root's id: its end does not end the root again."""
    root = start_chain(handler)
    step = start_call(handler, root)
    handler.on_chain_end({}, run_id=root)
    handler.on_chat_model_start({}, [[]], run_id=root, parent_run_id=step, metadata={})

    handler.on_llm_end(ANSWER, run_id=step)
    handler.on_llm_end(ANSWER, run_id=root)

    assert [(report.outcome, report.summary.tokens) for report in reports] == [
        (Outcome.SUCCESS, TokenUsage(total=26, input=20, output=6))
    ]
    assert handler.open_runs == 0


def test_an_attempt_takes_the_place_of_its_own_task_alone(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Of two tasks of one step, the one that failed is attempted again; the other's failure stands."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    for task in ("1", "2"):
        visit = start_chain(handler, root, **in_task(task))
        call_model(handler, visit)
        handler.on_chain_error(ValueError(), run_id=visit)

    handler.on_chain_end({}, run_id=start_chain(handler, root, **in_task("1")))
    handler.on_chain_end({}, run_id=root)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.ERROR]
