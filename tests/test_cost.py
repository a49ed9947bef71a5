"""What the handler costs, counted and not timed: bytecodes, memory, and what they depend on (DESIGN, rule 7).

A bound is some 15 % above what the dearest supported Python needs: whoever exceeds it has made every user's chain
dearer, and lowers the figure again or raises the bound knowingly.
"""

import gc
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.chains import QUESTION, chain
from tests.support.cost import bytecodes, no_garbage_collection, peak_bytes

TOKEN_BYTECODES = 25
STEP_BYTECODES = 400
RUN_BYTECODES = 4_200
HASH_BYTES = 64
"""What the hash of a UUID may take beside, for a moment and not on every Python."""


class ForgetfulClient(RecordingClient):
    """Serves flags and forgets events."""

    def track(self, *event: object) -> None:
        """Forget the event."""


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
    return LdAiHandler(config, max_open_runs=20_000)


def opened(handler: LdAiHandler) -> UUID:
    """Open a run and return its root's id."""
    root = uuid4()
    handler.on_chain_start({}, {}, run_id=root, metadata={})
    return root


def streaming(handler: LdAiHandler) -> UUID:
    """Return the id of a model call that has had its first token."""
    root, call = opened(handler), uuid4()
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
    handler.on_llm_new_token("Hi", run_id=call)
    return call


CHUNK = ChatGenerationChunk(message=AIMessageChunk("there"))
LATER_TOKENS = {
    "token": lambda to, call: to.on_llm_new_token("there", chunk=CHUNK, run_id=call, parent_run_id=None, tags=[]),
    "v3 event": lambda to, call: to.on_stream_event({"delta": {"text": "there"}}, run_id=call, tags=[]),
}


@pytest.mark.parametrize("send", LATER_TOKENS.values(), ids=LATER_TOKENS)
def test_a_later_token_is_one_look_up(handler: LdAiHandler, send: Callable[..., None]) -> None:
    """A streamed token after the first costs a look-up: no lock, no call of ours, the same for each."""
    call = streaming(handler)

    counts = {bytecodes(lambda: send(handler, call)) for _ in range(10)}

    assert len(counts) == 1
    assert max(counts) <= TOKEN_BYTECODES


@pytest.mark.parametrize("send", LATER_TOKENS.values(), ids=LATER_TOKENS)
def test_a_later_token_allocates_nothing(handler: LdAiHandler, send: Callable[..., None]) -> None:
    """A streamed token after the first needs no memory but for the look-up, and a thousand need no more."""
    call, idle = streaming(handler), Idle()

    def thousand(to: BaseCallbackHandler) -> None:
        for _ in range(1000):
            send(to, call)

    assert peak_bytes(lambda: thousand(handler)) <= peak_bytes(lambda: thousand(idle)) + HASH_BYTES


def test_a_run_has_a_price(handler: LdAiHandler) -> None:
    """A run of prompt, model and parser executes no more bytecodes than it did."""
    subject = chain()
    subject.invoke(QUESTION, {"callbacks": [handler]})

    assert bytecodes(lambda: subject.invoke(QUESTION, {"callbacks": [handler]})) <= RUN_BYTECODES


def step_cost(handler: LdAiHandler, parent: UUID) -> int:
    """Return the bytecodes of a step's start and end."""
    step = uuid4()

    def run_step() -> None:
        handler.on_chain_start({}, {}, run_id=step, parent_run_id=parent, tags=["seq:step:1"], metadata={})
        handler.on_chain_end({}, run_id=step)

    return bytecodes(run_step)


def test_a_step_has_a_price(handler: LdAiHandler) -> None:
    """A step that is no model call executes no more bytecodes than it did."""
    assert step_cost(handler, opened(handler)) <= STEP_BYTECODES


def test_a_deep_step_costs_what_a_shallow_one_does(handler: LdAiHandler) -> None:
    """What a step costs does not depend on how deep below its root it is."""
    parent = opened(handler)
    shallow = step_cost(handler, parent)
    for _ in range(200):
        step = uuid4()
        handler.on_chain_start({}, {}, run_id=step, parent_run_id=parent, metadata={})
        parent = step

    assert step_cost(handler, parent) == shallow


def run_cost(handler: LdAiHandler) -> int:
    """Return the bytecodes of a run of one model call."""

    def run() -> None:
        root, call = opened(handler), uuid4()
        handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
        handler.on_llm_error(ValueError("no"), run_id=call)
        handler.on_chain_end({}, run_id=root)

    return bytecodes(run)


def test_a_run_costs_the_same_beside_ten_thousand(handler: LdAiHandler) -> None:
    """What a run costs does not depend on how many others are open."""
    run_cost(handler)
    alone = run_cost(handler)
    for _ in range(10_000):
        opened(handler)

    assert run_cost(handler) == alone


def garbage_of_runs(handler: BaseCallbackHandler) -> int:
    """Return how many objects ten runs leave to the garbage collector."""
    subject = chain()
    with no_garbage_collection():
        for _ in range(10):
            subject.invoke(QUESTION, {"callbacks": [handler]})
        return gc.collect()


def test_a_run_leaves_no_garbage(handler: LdAiHandler) -> None:
    """A run that ended leaves memory at once, and not when garbage is collected next."""
    garbage_of_runs(handler)

    assert garbage_of_runs(handler) == garbage_of_runs(Idle())
