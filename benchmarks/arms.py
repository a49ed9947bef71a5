"""What is compared: no handler, one that does nothing, the least that events can cost, and ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from langchain_core.callbacks import BaseCallbackHandler

from benchmarks.delivery import CONTEXT, Delivery
from langchain_ldai import LdAiHandler
from langchain_ldai.events import (
    CONFIG_KEY,
    DURATION,
    MODEL_NAME,
    PROVIDER_NAME,
    RUN_ID,
    SUCCESS,
    TIME_TO_FIRST_TOKEN,
    TOKENS_INPUT,
    TOKENS_OUTPUT,
    TOKENS_TOTAL,
    TOOL_CALL,
    TOOL_KEY,
    VARIATION_KEY,
    VERSION,
)

NONE: Final = "none"
NO_OP: Final = "no-op"
FLOOR: Final = "floor"
EVENTS: Final = "events"
OURS: Final = "langchain_ldai"


Callbacks = Callable[[], list[BaseCallbackHandler]]
"""Gives the handlers of one run."""


def nothing() -> int:
    """Return 0, for arms that record nothing and have nothing to deliver."""
    return 0


@dataclass(frozen=True, slots=True)
class Arm:
    """Something to run the cases with.

    Args:
        name: What the report calls it.
        callbacks: Gives the handlers to pass to the runnables, for each run.
        recorded: Tells how much it has recorded and delivered so far.
        settle: Delivers what it has recorded; called outside of what is timed.
    """

    name: str
    callbacks: Callbacks
    recorded: Callable[[], int] = nothing
    settle: Callable[[], object] = nothing


class NoOp(BaseCallbackHandler):
    """Does nothing in any callback, as LangChain declares them: what LangChain itself spends on a handler."""

    run_inline = True

    def on_chat_model_start(self, serialized: object, messages: object, **kwargs: Any) -> None:
        """Do nothing; the inherited one raises."""


class Floor(NoOp):
    """Sends the six events of a streamed run when its root ends, and does nothing else."""

    _ending: ClassVar[tuple[tuple[str, int], ...]] = (
        (TIME_TO_FIRST_TOKEN, 120),
        (DURATION, 1500),
        (TOKENS_TOTAL, 13),
        (TOKENS_INPUT, 10),
        (TOKENS_OUTPUT, 3),
        (SUCCESS, 1),
    )

    def __init__(self, delivery: Delivery) -> None:
        config = delivery.config
        identity = config.create_tracker().identity
        self._track = delivery.client.track
        self._data = {
            CONFIG_KEY: identity.config_key,
            VARIATION_KEY: identity.variation_key,
            VERSION: identity.version,
            MODEL_NAME: config.model.name if config.model else "",
            PROVIDER_NAME: config.provider.name if config.provider else "",
        }

    def on_chain_end(self, outputs: object, *, run_id: object, parent_run_id: object = None, **_: object) -> None:
        """Send the events if this is the root."""
        if parent_run_id is None:
            data = {RUN_ID: str(run_id), **self._data}
            track = self._track
            for name, value in self._ending:
                track(name, CONTEXT, data, value)

    on_llm_end = on_chain_end


class Events(Floor):
    """Sends what ours sends of a run that does not stream, when ours does, and does nothing else.

    No handler that sends the same can cost less.
    """

    _ending: ClassVar = Floor._ending[1:]

    def on_tool_start(self, serialized: object, input_str: object, *, run_id: object, **_: object) -> None:
        """Send the event of a tool call."""
        self._track(TOOL_CALL, CONTEXT, {RUN_ID: str(run_id), **self._data, TOOL_KEY: "look_up"}, 1)


def shared(*handlers: BaseCallbackHandler) -> Callbacks:
    """Return what gives the same handlers to every run, in a list of its own, as LangChain may add to it."""
    return lambda: [*handlers]


def no_op() -> Arm:
    """Return the arm that the others are compared with."""
    return Arm(NO_OP, shared(NoOp()))


def sending(name: str, handler: BaseCallbackHandler, delivery: Delivery) -> Arm:
    """Return an arm whose handler sends its events with a LaunchDarkly client."""
    return Arm(name, shared(handler), delivery.recorded, delivery.settle)


def built_in(delivery: Delivery) -> list[Arm]:
    """Return the arms that need no other package."""
    sent = {FLOOR: Floor(delivery), EVENTS: Events(delivery), OURS: LdAiHandler(delivery.config)}
    return [Arm(NONE, shared()), no_op(), *(sending(name, handler, delivery) for name, handler in sent.items())]
