"""Reads the results of a run's calls: of a model call its usage and model, of a tool whether it handed over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

from langchain_ldai._base.guard import Guard
from langchain_ldai._runs.model_names import same_model
from langchain_ldai._runs.steps import NOTHING_READ, DecisionCall, ModelCall, Step, StepResult
from langchain_ldai._runs.totals import MetricTotals
from langchain_ldai._runs.usage import read_model, read_usage, result_of_decision

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_log = logging.getLogger(__name__)

_UNREADABLE: Final = "What a model reports of its call could not be read, tokens or model name may be missing"
_UNREADABLE_TOOL: Final = "What a tool gave back could not be read, a handoff may count as a tool call"
_OTHER_MODEL: Final = (
    "AI Config %r serves model %r, but %r is called: make the model with create_chat_model(config)"
)
_FALLBACK: Final = (
    "AI Config %r serves model %r; a call failed, and %r is called, which counts for what was served"
)
_NO_USAGE: Final = (
    "a streamed model call reported no token usage, so none is recorded: set stream_usage=True on the "
    "model, which is off by default where base_url or an HTTP client of one's own is set"
)
_OPENAI_STYLE: Final = frozenset({"openai", "azure", "deepseek", "together", "xai"})


class CallReader:
    """Reads the results of the calls in one handler's runs; warns of a wrong model and of missing usage.

    Args:
        guard: Catches what an odd result raises.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def read(self, step: Step, error: BaseException | None, output: object) -> StepResult:
        """Read what a model call used and which model it was, or whether a tool only handed over.

        Args:
            step: The call.
            error: What it raised, `None` where it ended well.
            output: What it gave back; of a model call that failed, the partial result (fact 93).
        """
        call, run, totals = step.call, step.scope.run, step.scope.totals
        ids = run.ids if totals is None else totals.ids
        guarded = self._guard.call  # each part by itself: one that cannot be read is no reason to lose the other
        if call is None:
            if run.journey is None:  # only an agent graph has handoffs
                return NOTHING_READ
            given = output if error is None else error.args  # LangGraph raises a command to the graph above
            hands_over = guarded(_UNREADABLE_TOOL, ids, run.journey.hands_over, step.scope.node, given)
            return StepResult(is_handoff=bool(hands_over))
        if isinstance(call, DecisionCall):
            output = guarded(_UNREADABLE, ids, result_of_decision, output)
        result = cast("LLMResult | None", output)
        usage = guarded(_UNREADABLE, ids, read_usage, result) if result is not None else None
        if totals is None:
            return StepResult(usage)
        model = guarded(_UNREADABLE, ids, self._checked_model, totals, call, result)
        if usage is None and error is None and call.streamed and call.provider in _OPENAI_STYLE:  # fact 87
            self._guard.notices.once(_log, logging.WARNING, "stream_usage", _NO_USAGE)
        return StepResult(usage, model or "")

    def _checked_model(self, totals: MetricTotals, call: ModelCall, result: LLMResult | None) -> str:
        """Return the model that the result names; warn once if the AI Config serves another, but for a fallback.

        LangChain may know a model by the name of a deployment or by an alias. Then the result says which it is.
        """
        name = getattr(getattr(totals.config, "model", None), "name", None)
        served = name if isinstance(name, str) else ""
        if call.model and (not served or same_model(served, call.model)):
            return ""
        answered = "" if result is None else read_model(result)
        called = call.model or answered
        if served and called and not (answered and same_model(served, answered)):
            is_fallback = totals.failed_model_calls > 0  # as far as that can be told
            level, text = (logging.INFO, _FALLBACK) if is_fallback else (logging.WARNING, _OTHER_MODEL)
            key, known_by = totals.tracker.identity.config_key, (text, served, called)
            self._guard.notices.once(_log, level, known_by, text, key, served, called)
        return answered
