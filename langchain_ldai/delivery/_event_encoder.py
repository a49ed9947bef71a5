"""Custom events as LaunchDarkly's SDK sends them: JSON text, with private attributes redacted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from ldclient import Context
from ldclient.impl.events.event_context_formatter import EventContextFormatter
from ldclient.impl.events.types import EventInputCustom

from langchain_ldai.delivery._http import ClientConfig

_T = TypeVar("_T")

RENEWALS: Final = 10
"""How often the texts of contexts are renewed in one `context_keys_flush_interval` of the SDK.

The SDK makes an index event of each context that it sees, and another after the interval. We show it a context
whenever we make the context's text. So an index event is at most a tenth of the interval late.
"""


class EventEncoder:
    """Turns custom events into the JSON that LaunchDarkly takes. Threads may share it.

    Args:
        config: The client's configuration: which attributes are private, how many contexts to remember, and for
            how long.

    Attributes:
        on_new_context: Gets each context whose text is made for a custom event: a new one, or one to be renewed.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.on_new_context: Callable[[Context], None] = lambda context: None
        formatter = EventContextFormatter(config.all_attributes_private, config.private_attributes)
        self._redact = formatter.format_context_redact_anonymous
        self._capacity = config.context_keys_capacity
        self._renewal_seconds = config.context_keys_flush_interval / RENEWALS
        self._forget_contexts()

    def encode(self, event: EventInputCustom) -> bytes:
        """Return an event as JSON.

        Raises:
            TypeError: If its data, value or context holds an object that JSON has no form for.
            ValueError: If it holds NaN or an infinity, or itself, or is nested too deeply.
        """
        data, value = event.data, event.metric_value
        data_text = "" if data is None else f',"data":{_json(data)}'
        value_text = "" if value is None else f',"metricValue":{_number(value)}'
        return (
            f'{{"kind":"custom","creationDate":{event.timestamp},"key":{_name(event.key)}'
            f"{self._context(event.context)}{data_text}{value_text}}}"
        ).encode("ascii")

    def encode_all(
        self, context: Context, events: Sequence[tuple[str, Mapping[str, object], float]], creation_ms: int
    ) -> bytes:
        """Return the events of one context as JSON, with commas between them.

        Args:
            context: Whom the events are counted for.
            events: The key, data and value of each event. Data that is the same object costs little.
            creation_ms: When the events were made, in milliseconds since 1970.

        Raises:
            TypeError: If an event holds an object that JSON has no form for.
            ValueError: If an event holds NaN or an infinity, or itself, or is nested too deeply.
        """
        head = f'{{"kind":"custom","creationDate":{creation_ms},"key":'
        context_text = self._context(context)
        last_data: object = events  # no event has this as its data
        middle = ""
        texts = []
        for key, data, value in events:
            if data is not last_data:
                last_data, middle = data, f'{context_text},"data":{_json(data)},"metricValue":'
            texts.append(f"{head}{_name(key)}{middle}{_number(value)}}}")
        return ",".join(texts).encode("ascii")

    def check_context(self, context: Context) -> None:
        """Check the context of an event that goes to the SDK, which makes the index event itself.

        Raises:
            TypeError: If the context holds an object that JSON has no form for.
            ValueError: If it holds NaN or an infinity, or itself, or is nested too deeply.
        """
        if id(context) not in self._contexts:
            self._new_context(context)

    def _context(self, context: Context) -> str:
        cached = self._contexts.get(id(context))
        if cached is None or time.monotonic() >= self._renew_at:
            text = self._new_context(context)
            self.on_new_context(context)
            return text
        return cached[1]

    def _new_context(self, context: Context) -> str:
        if time.monotonic() >= self._renew_at or len(self._contexts) >= self._capacity:
            self._forget_contexts()
        text = f',"context":{_json(context, self._redact)}'
        self._contexts[id(context)] = context, text  # while the context is kept too, no other can have its id
        return text

    def _forget_contexts(self) -> None:
        self._contexts: dict[int, tuple[Context, str]] = {}
        self._renew_at = time.monotonic() + self._renewal_seconds


_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_name: Final = lru_cache(maxsize=1_000)(_encode)


def _json(value: _T, prepare: Callable[[_T], object] | None = None) -> str:
    try:
        return _encode(value if prepare is None else prepare(value))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (TypeError, ValueError):
        raise
    except Exception as error:  # noqa: BLE001  # a mapping in it may be the caller's code
        raise ValueError(f"it raises {type(error).__name__}") from None


def _number(value: object) -> str:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return _json(value)
