"""Ids of runs, and keys: makes new ids, and checks which texts every ledger can hold."""

import hashlib
import logging
import os
import re
from collections.abc import Callable
from random import Random
from reprlib import repr as short_repr
from typing import Final
from uuid import NAMESPACE_OID, UUID

_log = logging.getLogger(__name__)

_REPLACED: Final = (
    "the id given for a run %s, which not every ledger can hold: the run is recorded as %s, and so is each run of "
    "the same id. Give a UUID, or another text of at most %s characters, as run_id= or by run_ids="
)

MAX_RUN_ID_LENGTH: Final = 256
"""The longest id of a run, in characters: as long as LaunchDarkly's longest key."""

# Neither `random.seed(...)` in the program nor a fork makes these numbers repeat.
_random: Final = Random()  # noqa: S311  the numbers are no secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)

_RANDOM_BITS: Final = ~(0xF << 76 | 0x3 << 62)
_UUID4_BITS: Final = 0x4 << 76 | 0x2 << 62
"""A mask of a UUID's random bits, and the bits that say its version and variant (RFC 9562, section 5.4)."""

_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
"""Half a surrogate pair: the only character that UTF-8 cannot encode."""


def new_run_id() -> str:
    """Return the text of a new UUIDv4.

    `uuid4()` asks the operating system for each id. Another thread may take over then, and the chain waits.
    """
    text = f"{_random.getrandbits(128) & _RANDOM_BITS | _UUID4_BITS:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid_of(text: str) -> str:
    """Return the UUIDv5 of a text, the same for the same text. UTF-8 need not be able to encode the text."""
    named = NAMESPACE_OID.bytes + text.encode("utf-8", "surrogatepass")
    return str(UUID(bytes=hashlib.sha1(named, usedforsecurity=False).digest()[:16], version=5))


def run_id_fault(run_id: str) -> str:
    """Return why some ledger could not hold a run's id; "" if each can."""
    if len(run_id) > MAX_RUN_ID_LENGTH:
        return f"has {len(run_id):,} characters, more than {MAX_RUN_ID_LENGTH}"
    return text_fault(run_id)


def checked_run_id(run_id: str, warn: Callable[..., None] = _log.warning) -> str:
    """Return a run's id if every ledger can hold it, else a UUID made from it.

    Args:
        run_id: The id.
        warn: Logs that the id is replaced.

    Raises:
        TypeError: If it is not a string.
        ValueError: If it is empty.
    """
    if not isinstance(run_id, str):
        raise TypeError(f"run_id is a str, not {type(run_id).__name__}: {str(run_id)[:99]!r}")
    if not run_id:
        raise ValueError("run_id is empty; leave it out for a new id")
    fault = run_id_fault(run_id)
    if not fault:
        return run_id
    replacement = uuid_of(run_id)
    warn(_REPLACED, fault, replacement, MAX_RUN_ID_LENGTH)
    return replacement


def check_key(key: str) -> None:
    """Check the key of an AI Config or of an agent graph.

    Raises:
        TypeError: If it is not a string.
        ValueError: If some ledger could not hold it.
    """
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}: the key comes first, then the context")
    if fault := text_fault(key):
        raise ValueError(f"the key {short_repr(key)} {fault}; LaunchDarkly has no such key")


def text_fault(text: str) -> str:
    """Return why some ledger could not hold a text; "" if each can."""
    return "has a NUL character" if "\0" in text else utf8_fault(text)


def utf8_fault(text: str) -> str:
    """Return why UTF-8 cannot encode a text; "" if it can."""
    return "has half a surrogate pair" if _SURROGATE.search(text) else ""
