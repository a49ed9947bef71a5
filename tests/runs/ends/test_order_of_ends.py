"""Ends that come twice, in another order, or in the middle of something else."""

from collections.abc import Callable
from uuid import uuid4

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport, TokenUsage
from langchain_ldai.testing import RecordingClient
from tests.support.events import ANSWER, begun, called


def test_an_end_that_comes_twice_changes_nothing(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Below a root that failed no run opens, also where its end was told again (fact 96)."""
    root = begun(handler)
    called(handler, root)
    for _ in range(2):
        handler.on_chain_error(ValueError(), run_id=root)

    called(handler, root)

    assert [(report.outcome, report.model_calls) for report in reports] == [(Outcome.ERROR, 1)]


def test_a_nodes_outcome_is_the_roots_where_the_root_ended_before_it(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """What the visit of a node tells after that comes too late: the former has been sent."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root, visit, call = begun(handler), uuid4(), uuid4()
    node = {"langgraph_node": "writer", "langgraph_checkpoint_ns": "writer:1", "langgraph_step": 1}
    handler.on_chain_start(None, {}, run_id=visit, parent_run_id=root, metadata=dict(node))
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=visit, metadata=dict(node))
    handler.on_chain_end({}, run_id=root)

    handler.on_chain_error(ValueError(), run_id=visit)
    handler.on_llm_end(ANSWER, run_id=call)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.SUCCESS]


def in_task(task: str, *, step: int = 1) -> dict[str, object]:
    """Return what LangGraph says of a step in a task of the node `writer`."""
    return {"langgraph_node": "writer", "langgraph_checkpoint_ns": f"writer:{task}", "langgraph_step": step}


def test_a_visit_whose_graph_is_over_is_beside_no_other(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """It was left behind, and the visit that was made instead is the last."""
    handler = LdAiHandler(config, nodes={"writer": config}, on_run_end=reports.append)
    root = begun(handler)
    graphs = [begun(handler, root) for _ in range(2)]
    left = begun(handler, graphs[0], **in_task("left"))
    called(handler, left)
    handler.on_chain_error(TimeoutError(), run_id=graphs[0])
    made = begun(handler, graphs[1], **in_task("made"))
    handler.on_chain_end({}, run_id=made)

    handler.on_chain_error(ValueError(), run_id=left)
    handler.on_chain_end({}, run_id=root)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.SUCCESS]


def test_a_visit_within_a_visit_is_beside_it(config: LdAiCompletionConfig, reports: list[RunReport]) -> None:
    """A node that another named node of its own calls again: the failure within is told, if nothing follows."""
    handler = LdAiHandler(config, nodes={"writer": config, "critic": config}, on_run_end=reports.append)
    root = begun(handler)
    outer = begun(handler, root, **in_task("outer"))
    critic = begun(handler, outer, langgraph_node="critic", langgraph_checkpoint_ns="critic:1")
    inner = begun(handler, critic, **in_task("inner"))
    called(handler, inner)
    handler.on_chain_error(ValueError(), run_id=inner)
    for step in (critic, outer, root):
        handler.on_chain_end({}, run_id=step)

    assert [report.nodes["writer"].outcome for report in reports] == [Outcome.ERROR]


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
    """A stream that is collected while an event is handled ends its run in the same thread."""
    streaming = begun(handler)
    called(handler, streaming)
    other = ReentrantId(lambda: handler.on_chain_end({}, run_id=streaming))
    handler.on_chain_start(None, {}, run_id=other, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=(call := uuid4()), parent_run_id=other, metadata={})

    other.then = other.later
    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=other)

    assert [report.root_run_id for report in reports] == [streaming, other]


def test_a_step_may_take_the_id_of_its_ended_root(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Below a step that is still open the id is that step's child's; its end is not the root's a second time."""
    root, step = uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=step, parent_run_id=root, metadata={})
    handler.on_chain_end({}, run_id=root)
    handler.on_chat_model_start({}, [[]], run_id=root, parent_run_id=step, metadata={})

    handler.on_llm_end(ANSWER, run_id=step)
    handler.on_llm_end(ANSWER, run_id=root)

    assert [(report.outcome, report.summary.tokens) for report in reports] == [
        (Outcome.SUCCESS, TokenUsage(total=26, input=20, output=6))
    ]
    assert handler.open_runs == 0
