"""Logs why LaunchDarkly serves nothing for a key, or takes no events, once for each cause."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping
from typing import Any, Final, cast

from ldclient import Context
from ldclient.interfaces import DataSourceState

from langchain_ldai._base.guard import Notices
from langchain_ldai._base.options import is_async
from langchain_ldai._configs.open_clients import CONNECTED, in_use, may_lose_events, note_use
from langchain_ldai._wire import events
from langchain_ldai.errors import MAX_NAME_LENGTH

_log = logging.getLogger(__name__)

_NOTHING_SERVED: Final = (
    "LaunchDarkly serves nothing for %s %r, %s: is the key right, and is targeting on in this environment?"
)
_INVALID_CONTEXT: Final = "%s %r is asked for a context that is invalid (%s), %s"
_NO_KEY: Final = (
    "An AI Config is asked for, or counted, for a context whose key is None: LaunchDarkly cannot tell whose "
    "metrics these are. Give Context.create() the id of a user or a session: is it in the metadata of the call?"
)
_NO_JSON: Final = (
    "The attribute %r of a context is no JSON (%s): LaunchDarkly's client cannot send the events of this context, "
    "and loses all others that it would send with them; with `delivery=` only these are lost. Give a text or a "
    "number, such as str(id), date.isoformat() or float(value)"
)
_NOT_INITIALIZED: Final = (
    "%r is asked for, or counted, while the LaunchDarkly client has not been initialised: AI Configs are the "
    "defaults, and metrics may be lost. Check the SDK key and the network; an AsyncLDClient needs "
    "`await client.start()` first"
)
_OFFLINE: Final = (
    "%r is asked for, or counted, while the LaunchDarkly client is offline: AI Configs are the defaults, and no "
    "metric is sent. Without `offline=True` in its configuration it asks LaunchDarkly"
)
_CLOSED: Final = (
    "%r is counted while the LaunchDarkly client is closed, or has given up on a wrong SDK key: its metrics are "
    "lost. Close the client after the last run; `postfork()` opens an LDClient again"
)
_LOOP_ENDED: Final = (
    "An AsyncLDClient is used after the event loop in which it was started has ended, as with a second "
    "`asyncio.run`: it hears of no change of a flag any more, and without DurableEvents its metrics are lost. "
    "Start a client in each loop, and close it there, or take an LDClient"
)
_NO_META: Final = (
    "AI Config %r has no `_ldMeta`, and so is disabled: is the key that of an AI Config, and not of another flag?"
)
_NO_VARIABLE: Final = (
    "AI Config %r: %s is not among the variables, and its place in the text is left empty. Pass it in variables=; "
    "attributes of the context are named as in {{ldctx.name}}"
)
_LEFT_EARLY: Final = (
    "Claims still wait for the ledger at the end of the client's block: their metrics are lost if the "
    "LaunchDarkly client is closed before they are granted. `close(timeout)` waits for longer"
)


class Diagnosis:
    """Logs what is wrong with one of LaunchDarkly's clients.

    Args:
        client: The client.

    Attributes:
        notices: Logs each cause once.
    """

    def __init__(self, client: object) -> None:
        self._client: Any = client
        self._may_lose_events = may_lose_events(client)
        self.notices = Notices()

    def ask_whether_initialized(self) -> object:
        """Return the client's answer, in an awaitable if it is asynchronous; `True` if it has none."""
        asked = getattr(self._client, "is_initialized", None)
        return True if asked is None else asked()

    def of_event(self, data: Mapping[str, object]) -> None:
        """Warn if the client does not take an event that is being sent; a stand-in may not say whether it does."""
        key = data.get(events.CONFIG_KEY) or data.get(events.GRAPH_KEY)
        provider = getattr(self._client, "data_source_status_provider", None)
        state = getattr(getattr(provider, "status", None), "state", None)
        if state is DataSourceState.OFF:
            self._tell("closed", logging.WARNING, _CLOSED, key)
        elif state in CONNECTED and provider not in in_use and self._may_lose_events:
            note_use(provider)
        elif state is DataSourceState.INITIALIZING:
            asked = getattr(self._client, "is_initialized", None)
            if self._is_offline():
                self._tell("offline", logging.INFO, _OFFLINE, key)
            elif asked is None or is_async(asked) or not asked():
                self._tell("not initialized", logging.WARNING, _NOT_INITIALIZED, key)

    def of_ended_loop(self) -> None:
        """Warn if an asynchronous client is used after its event loop has ended, where it was not closed."""
        provider = getattr(self._client, "data_source_status_provider", None)
        if provider is None or provider.status.state is not DataSourceState.OFF:
            self._tell("loop ended", logging.WARNING, _LOOP_ENDED)

    def of_nothing_served(
        self, what: str, key: str, context: Context, *, has_default: bool, is_initialized: object
    ) -> None:
        """Say why LaunchDarkly may serve nothing for a key.

        Args:
            what: What has the key, such as an AI Config.
            key: The key.
            context: Whom it was asked for.
            has_default: Whether the caller gave a default. Then it is no fault.
            is_initialized: Whether the client says that it is initialised.
        """
        level = logging.INFO if has_default else logging.WARNING
        instead = "the default is used" if has_default else "it is disabled, as no default was given"
        if self._is_offline():
            self._tell("offline", level, _OFFLINE, key)
        elif is_initialized is False:
            self._tell("not initialized", logging.WARNING, _NOT_INITIALIZED, key)
        elif not context.valid:
            self._tell(("context", key), level, _INVALID_CONTEXT, what, key, context.error, instead)
        else:
            # A handler's warning of a disabled AI Config has the same key, so that the log says it once.
            kind = ("default" if has_default else "disabled", key)
            self._tell(kind, level, _NOTHING_SERVED, what, key, instead)

    def of_context(self, context: Context) -> None:
        """Say what is wrong with a context that LaunchDarkly's client takes for valid."""
        if context.key is None:
            self._tell("no key", logging.WARNING, _NO_KEY)
        for number in range(context.individual_context_count):
            single = cast(Context, context.get_individual_context(number))
            for name in ("key", "name", *single.custom_attributes):
                value = single.get(name)
                is_usual = value is None or isinstance(value, (str, int))
                # What is private is not sent.
                if not (is_usual or name in single.private_attributes or _is_json(value)):
                    self._tell(("attribute", name), logging.ERROR, _NO_JSON, name, type(value).__name__)

    def of_missing_meta(self, key: str) -> None:
        """Say that what is served for a key is no AI Config."""
        self._tell(("no _ldMeta", key), logging.WARNING, _NO_META, key)

    def of_missing_variable(self, key: str, name: str) -> None:
        """Say that a text of an AI Config shows a variable that the caller did not give."""
        is_name = len(name) <= MAX_NAME_LENGTH and name.replace("-", "_").isidentifier()
        shown = repr(name) if is_name else "a variable"  # anything longer may be a part of the prompt
        self._tell(("variable", key, name), logging.WARNING, _NO_VARIABLE, key, shown)

    def of_block_left_early(self) -> None:
        """Say that claims were still waiting at the end of the client's block."""
        _log.warning(_LEFT_EARLY)

    def _is_offline(self) -> bool:
        asked = getattr(self._client, "is_offline", None)
        return asked is not None and asked() is True

    def _tell(self, kind: Hashable, level: int, message: str, *args: object) -> None:
        self.notices.once(_log, level, kind, message, *args)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
