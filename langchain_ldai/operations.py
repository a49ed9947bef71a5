"""Recording what an operation did: run it, time it, read its metrics, let its result or exception through."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from langchain_ldai.errors import without_message
from langchain_ldai.metrics import AiMetrics, TokenUsage

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class OperationTracking(ABC):
    """The `track_..._of` methods of a tracker, on top of its `track_...` methods (spec section 4)."""

    __slots__ = ()

    @property
    @abstractmethod
    def run_id(self) -> str: ...

    @abstractmethod
    def track_duration(self, ms: float) -> None: ...

    @abstractmethod
    def track_success(self) -> None: ...

    @abstractmethod
    def track_error(self) -> None: ...

    @abstractmethod
    def track_tokens(self, usage: TokenUsage | None) -> None: ...

    @abstractmethod
    def track_tool_calls(self, keys: Iterable[str]) -> None: ...

    def track_duration_of(self, operation: Callable[[], _T]) -> _T:
        """Run the operation, record how long it took whether or not it raised, and return its result."""
        started = time.monotonic()
        try:
            return operation()
        finally:
            self.track_duration(_since(started))

    async def track_duration_of_async(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """Await the operation, record how long it took whether or not it raised, and return its result."""
        started = time.monotonic()
        try:
            return await operation()
        finally:
            self.track_duration(_since(started))

    def track_metrics_of(self, extractor: Callable[[_T], AiMetrics | None], operation: Callable[[], _T]) -> _T:
        """Run the operation and record its duration, its outcome, its tokens and its tool calls.

        If the operation raises, a cancellation included, duration and error are recorded and the
        exception goes on. If the extractor raises, or returns `None` or no `AiMetrics`, the duration alone is
        recorded and the operation's result is returned (spec section 4).

        Args:
            extractor: Reads the metrics from the operation's result.
            operation: What to run.
        """
        started = time.monotonic()
        try:
            result = operation()
        except BaseException:
            self._track_failure(_since(started))
            raise
        self._track_result(extractor, result, _since(started))
        return result

    async def track_metrics_of_async(
        self, extractor: Callable[[_T], AiMetrics | None], operation: Callable[[], Awaitable[_T]]
    ) -> _T:
        """Await the operation and record what `track_metrics_of` records."""
        started = time.monotonic()
        try:
            result = await operation()
        except BaseException:
            self._track_failure(_since(started))
            raise
        self._track_result(extractor, result, _since(started))
        return result

    def _track_failure(self, elapsed_ms: float) -> None:
        self.track_duration(elapsed_ms)
        self.track_error()

    def _track_result(self, extractor: Callable[[_T], AiMetrics | None], result: _T, elapsed_ms: float) -> None:
        try:
            metrics = extractor(result)
            if metrics is not None and not isinstance(metrics, AiMetrics):
                raise TypeError(f"an extractor returns an AiMetrics or None, not {type(metrics).__name__}")
        except Exception as error:  # noqa: BLE001  # an extractor is the caller's code
            _log.warning("the metrics extractor failed for run %s: %s", self.run_id, without_message(error))
            metrics = None
        if metrics is None:
            self.track_duration(elapsed_ms)
            return
        self.track_duration(elapsed_ms if metrics.duration_ms is None else metrics.duration_ms)
        if metrics.success:
            self.track_success()
        else:
            self.track_error()
        if metrics.tokens:
            self.track_tokens(metrics.tokens)
        self.track_tool_calls(metrics.tool_calls or ())


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000
