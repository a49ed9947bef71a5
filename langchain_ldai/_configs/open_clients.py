"""Logs at the end of a process that a LaunchDarkly client was left open."""

from __future__ import annotations

import logging
import os
import sys
import weakref
from typing import Any, Final

from ldclient.interfaces import DataSourceState

from langchain_ldai._base.guard import Guard, Ids

_log = logging.getLogger(__name__)

_LEFT_OPEN: Final = (
    "The LaunchDarkly client was still open when the process ended: what was counted in the last seconds may be "
    "lost. Open it in `with LDClient(...) as ld:`, or call `ld.close()` at the end; `ld.flush()` does not wait"
)
_NO_STATE: Final = "A LaunchDarkly client does not say whether it is closed, so no log says if it is left open"

CONNECTED: Final = DataSourceState.VALID, DataSourceState.INTERRUPTED
"""The states of a client from its first flags until `close`. A client that asks nobody for flags is in neither."""

_LAST: Final = -1_000
"""The priority of what `multiprocessing` is to call after all else."""

in_use: Final[dict[Any, None]] = {}
"""The status providers of the clients that have taken events in this process and are not closed."""

_forked: Final[list[None]] = []
"""One entry in a fork in which no client has taken an event yet."""

_guard: Final = Guard()


def may_lose_events(client: object) -> bool:
    """Return whether the end of the process loses what a client has not sent, and it tells if it is closed."""
    config = getattr(client, "_config", None)
    if getattr(config, "datasystem_config", None) is not None:  # its state may be valid also after `close`
        return False
    is_durable = hasattr(getattr(config, "event_processor_class", None), "claims_with")
    return not is_durable and getattr(config, "send_events", True) is not False


def note_use(provider: object) -> None:
    """Note that an open client has taken an event for the first time, and forget those that were closed.

    Args:
        provider: The client's status provider.
    """
    for other in set(in_use).difference(_still_open()):
        in_use.pop(other, None)
    in_use[provider] = None
    if _forked and "multiprocessing.util" in sys.modules:
        _forked.clear()
        _tell_at_end_of_worker()


def _tell_at_end_of_worker() -> None:
    """Have `multiprocessing` call us at the end of its own fork: it ends that by `os._exit`, unlike Python."""
    from multiprocessing import parent_process
    from multiprocessing.util import Finalize

    if parent_process() is not None:
        Finalize(None, _tell_of_open_clients, exitpriority=_LAST)


def _tell_of_open_clients() -> None:
    if _still_open():
        _log.warning(_LEFT_OPEN)
    in_use.clear()


def _still_open() -> list[Any]:
    return [provider for provider in list(in_use) if _guard.call(_NO_STATE, Ids(), _is_open, provider)]


def _is_open(provider: Any) -> bool:  # noqa: ANN401  whatever a client has
    return provider.status.state in CONNECTED


def _reset_after_fork() -> None:
    in_use.clear()
    _forked[:] = [None]


# At exit Python calls all finalizers at the turn of the first that was made, which LaunchDarkly's client makes as
# it connects. So a client that the program gave to `atexit` before it imported us is closed by then.
weakref.finalize(Guard, _tell_of_open_clients)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
