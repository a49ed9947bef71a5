"""What the handler costs, counted and not timed: bytecodes, memory, and what they depend on.

A bound is at most 15 % above what the dearest supported Python needs: whoever exceeds it has made every user's
chain dearer, and lowers the figure again or raises the bound knowingly.
"""

import gc
import itertools
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, Outcome
from langchain_ldai._runs.graph_path import Journey
from tests.conftest import FLAG
from tests.support.chains import QUESTION, chain
from tests.support.cost import ForgetfulClient, bytecodes, no_garbage_collection, peak_bytes
from tests.support.events import start_call, start_chain, stream_first_token
from tests.support.models import ScriptedChat

TOKEN_BYTECODES = 6
LOOK_UP_BYTECODES = 22
STEP_BYTECODES = 350
TASK_BYTECODES = 680
"""Of the step that begins a task of LangGraph's, once for all that are below it in the node."""
RUN_BYTECODES = 4_600
HASH_BYTES = 64
"""What the hash of a UUID may take beside, for a moment and not on every Python."""


class Idle(BaseCallbackHandler):
    """Looks a run up and does nothing else, with the handler's own signatures."""

    run_inline = True

    def __init__(self):
        self.runs = {}

    def on_llm_new_token(self, token, *, chunk=None, run_id, **kwargs):
        """Look the run up."""
        self.runs.get(run_id)

    def on_stream_event(self, event, *, run_id, **kwargs):
        """Look the run up."""
        self.runs.get(run_id)


@pytest.fixture
def handler(context):
    """A handler whose events go nowhere."""
    config = LdAiClient(ForgetfulClient({"support-bot": FLAG})).completion_config("support-bot", context)
    return LdAiHandler(config, max_open_runs=2_000)


CHUNK = ChatGenerationChunk(message=AIMessageChunk("there"))
LATER_TOKENS = {
    "token": lambda to, call: to.on_llm_new_token("there", chunk=CHUNK, run_id=call, parent_run_id=None, tags=[]),
    "v3 event": lambda to, call: to.on_stream_event({"delta": {"text": "there"}}, run_id=call, tags=[]),
}


@pytest.mark.parametrize("send", LATER_TOKENS.values(), ids=LATER_TOKENS)
def test_a_later_token_costs_next_to_nothing(handler: LdAiHandler, send: Callable[..., None]) -> None:
    """A streamed token after the first is no news while no model call awaits one."""
    call = stream_first_token(handler, start_chain(handler))

    counts = {bytecodes(lambda: send(handler, call)) for _ in range(10)}

    assert len(counts) == 1
    assert max(counts) <= TOKEN_BYTECODES


@pytest.mark.parametrize("send", LATER_TOKENS.values(), ids=LATER_TOKENS)
def test_a_later_token_is_one_look_up_while_another_call_waits(
    handler: LdAiHandler, send: Callable[..., None]
) -> None:
    """Beside a call that awaits its first token it costs a look-up: no lock, and the same for each."""
    call, other = stream_first_token(handler, start_chain(handler)), start_call(handler, start_chain(handler))

    counts = {bytecodes(lambda: send(handler, call)) for _ in range(10)}

    assert len(counts) == 1
    assert max(counts) <= LOOK_UP_BYTECODES
    assert first_token_bytecodes(handler, other) > LOOK_UP_BYTECODES


def first_token_bytecodes(handler: LdAiHandler, call: UUID) -> int:
    """Return what a chunk without content costs while the call awaits its first token, which it goes on to do."""
    return bytecodes(lambda: handler.on_llm_new_token("", run_id=call))


class OvertakenBlock(dict[str, str]):
    """A content block; while it is read, another thread is done with the next."""

    def __init__(self, overtake: Callable[[], object]) -> None:
        super().__init__(text="Hi")
        self._overtake = overtake

    def items(self):
        """Let the other thread go first."""
        self._overtake()
        return super().items()


def two_at_once(handler: LdAiHandler, call: UUID) -> None:
    """Let two threads send a chunk of the same call."""
    other = OvertakenBlock(lambda: handler.on_llm_new_token("there", run_id=call))
    handler.on_llm_new_token([other], run_id=call)


WAYS_TO_WAIT_NO_MORE = {
    "two at once": two_at_once,
    "first token": lambda handler, call: handler.on_llm_new_token("Hi", run_id=call),
    "end": lambda handler, call: handler.on_llm_end(LLMResult(generations=[]), run_id=call),
    "error": lambda handler, call: handler.on_llm_error(ValueError("no"), run_id=call),
    "abandoned": lambda handler, call: [start_chain(handler) for _ in range(2_000)],
}


@pytest.mark.parametrize("way", WAYS_TO_WAIT_NO_MORE.values(), ids=WAYS_TO_WAIT_NO_MORE)
def test_a_call_that_waits_no_more_costs_other_streams_nothing(
    handler: LdAiHandler, way: Callable[..., object]
) -> None:
    """However a model call comes to await no first token, the tokens of others cost next to nothing again."""
    way(handler, start_call(handler, start_chain(handler)))

    assert bytecodes(lambda: handler.on_llm_new_token("there", run_id=uuid4())) <= TOKEN_BYTECODES


@pytest.mark.parametrize("send", LATER_TOKENS.values(), ids=LATER_TOKENS)
def test_a_later_token_allocates_nothing(handler: LdAiHandler, send: Callable[..., None]) -> None:
    """A streamed token after the first needs no memory but for the look-up, and a thousand need no more."""
    call, idle = stream_first_token(handler, start_chain(handler)), Idle()

    def thousand(to: BaseCallbackHandler) -> None:
        for _ in range(1000):
            send(to, call)

    assert peak_bytes(lambda: thousand(handler)) <= peak_bytes(lambda: thousand(idle)) + HASH_BYTES


def test_a_run_has_a_price(handler: LdAiHandler) -> None:
    """A run of prompt, model and parser executes no more bytecodes than it did."""
    subject = chain()
    subject.invoke(QUESTION, {"callbacks": [handler]})

    assert bytecodes(lambda: subject.invoke(QUESTION, {"callbacks": [handler]})) <= RUN_BYTECODES


def test_a_model_that_tells_no_tokens_costs_no_more(handler: LdAiHandler) -> None:
    """Where a result says nothing, no place is searched for each name that a provider gives its counts."""
    subject = chain(ScriptedChat(script=[[AIMessageChunk("Hi")]]))
    subject.invoke(QUESTION, {"callbacks": [handler]})

    assert bytecodes(lambda: subject.invoke(QUESTION, {"callbacks": [handler]})) <= RUN_BYTECODES


def in_a_node() -> dict[str, object]:
    """Return what LangGraph says of the first step in a node (fact 56)."""
    return {"langgraph_node": "writer", "langgraph_checkpoint_ns": f"writer:{uuid4()}", "langgraph_step": 1}


def step_cost(handler: LdAiHandler, parent: UUID, metadata: Callable[[], dict[str, object]] = dict) -> int:
    """Return the bytecodes of a step's start and end."""

    def run_step() -> None:
        step, tags = uuid4(), ["seq:step:1"]
        handler.on_chain_start({}, {}, run_id=step, parent_run_id=parent, tags=tags, metadata=metadata())
        handler.on_chain_end({}, run_id=step)

    return bytecodes(run_step)


@pytest.mark.parametrize(("metadata", "price"), [(dict, STEP_BYTECODES), (in_a_node, TASK_BYTECODES)])
def test_a_step_has_a_price(handler: LdAiHandler, metadata: Callable[[], dict[str, object]], price: int) -> None:
    """A step that is no model call, in a chain or a graph, executes no more bytecodes than it did."""
    assert step_cost(handler, start_chain(handler), metadata) <= price


def test_a_step_in_a_task_costs_what_one_outside_does(handler: LdAiHandler) -> None:
    """Only what begins a task costs more."""
    within, node = in_a_node(), uuid4()
    handler.on_chain_start({}, {}, run_id=node, parent_run_id=start_chain(handler), metadata=dict(within))

    assert step_cost(handler, node, lambda: dict(within)) <= STEP_BYTECODES


def test_a_deep_step_costs_what_a_shallow_one_does(handler: LdAiHandler) -> None:
    """What a step costs does not depend on how deep below its root it is."""
    parent = start_chain(handler)
    shallow = step_cost(handler, parent)
    for _ in range(200):
        step = uuid4()
        handler.on_chain_start({}, {}, run_id=step, parent_run_id=parent, metadata={})
        parent = step

    assert step_cost(handler, parent) == shallow


def test_a_visit_of_an_agent_graph_costs_the_same_after_a_thousand() -> None:
    """What a visit costs does not depend on how many nodes were visited before."""
    journey = Journey({("plan", "book"), ("book", "plan")})
    steps = itertools.count()

    def visits() -> None:
        for node in ("plan", "book"):
            step = next(steps)
            journey.visit_started(node, f"task-{step}", step)
            journey.visit_ended(node, f"task-{step}", Outcome.SUCCESS)

    visits()
    early = bytecodes(visits)
    for _ in range(1000):
        visits()

    assert bytecodes(visits) == early
    assert len(journey.handoffs) == next(steps) - 1


FAN_OUTS = {
    "at work": lambda handler, graph: start_visit(handler, graph),
    "ended": lambda handler, graph: handler.on_chain_end({}, run_id=start_visit(handler, graph)),
    "failed": lambda handler, graph: handler.on_chain_error(KeyError("x"), run_id=start_visit(handler, graph)),
    "in subgraphs at work": lambda handler, graph: start_visit(handler, start_subgraph(handler, graph)[-1]),
    "in subgraphs": lambda handler, graph: visit_in_subgraph(handler, graph),
}


def start_visit(handler: LdAiHandler, graph: UUID) -> UUID:
    """Start a visit of the named node in one step of a graph."""
    return start_chain(handler, graph, **in_a_node())


def start_subgraph(handler: LdAiHandler, graph: UUID) -> list[UUID]:
    """Start a node that is a graph itself, in the same step as others; return the node and that graph."""
    within = {**in_a_node(), "langgraph_node": "sub"}
    node = start_chain(handler, graph, **within)
    return [node, start_chain(handler, node, **within)]


def visit_in_subgraph(handler: LdAiHandler, graph: UUID) -> None:
    """Visit the named node of a graph within a node."""
    steps = start_subgraph(handler, graph)
    steps.append(start_visit(handler, steps[-1]))
    for step in reversed(steps):
        handler.on_chain_end({}, run_id=step)


@pytest.mark.parametrize("fan_out", FAN_OUTS.values(), ids=FAN_OUTS)
def test_a_visit_costs_the_same_beside_five_hundred(context: Context, fan_out: Callable[..., object]) -> None:
    """What the visit of a named node costs does not depend on how many others a graph's step sends out."""
    config = LdAiClient(ForgetfulClient({"support-bot": FLAG})).completion_config("support-bot", context)
    handler = LdAiHandler(config, nodes={"writer": config})
    graph = start_chain(handler)
    fan_out(handler, graph)
    early = bytecodes(lambda: fan_out(handler, graph))
    for _ in range(500):
        fan_out(handler, graph)

    assert bytecodes(lambda: fan_out(handler, graph)) == early


def run_cost(handler: LdAiHandler) -> int:
    """Return the bytecodes of a run of one model call."""

    def run() -> None:
        root = start_chain(handler)
        handler.on_llm_error(ValueError("no"), run_id=start_call(handler, root))
        handler.on_chain_end({}, run_id=root)

    return bytecodes(run)


def test_a_run_costs_the_same_beside_a_thousand(handler: LdAiHandler) -> None:
    """What a run costs does not depend on how many others are open."""
    run_cost(handler)
    alone = run_cost(handler)
    for _ in range(1_000):
        start_chain(handler)

    assert run_cost(handler) == alone


def garbage_of_runs(make_handler: Callable[[], BaseCallbackHandler]) -> int:
    """Return how many objects ten runs, each with the handler that it is given, leave to the garbage collector."""
    subject = chain()
    with no_garbage_collection():
        for _ in range(10):
            subject.invoke(QUESTION, {"callbacks": [make_handler()]})
        return gc.collect()


def test_a_run_leaves_no_garbage(handler: LdAiHandler) -> None:
    """A run that ended leaves memory at once, and not when garbage is collected next."""
    garbage_of_runs(lambda: handler)

    assert garbage_of_runs(lambda: handler) == garbage_of_runs(Idle)


def test_a_handler_of_one_run_leaves_no_garbage(context: Context) -> None:
    """A program that makes a handler for each request has its memory back at once, too."""
    config = LdAiClient(ForgetfulClient({"support-bot": FLAG})).completion_config("support-bot", context)
    garbage_of_runs(lambda: LdAiHandler(config))

    assert garbage_of_runs(lambda: LdAiHandler(config)) == garbage_of_runs(Idle)
