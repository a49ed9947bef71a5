"""Reads the fields of a payload: a value of the wrong type counts as absent; pure (spec section 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeGuard, cast

from langchain_ldai._wire.ids import utf8_fault
from langchain_ldai._wire.tokens import MAX_VERSION

_WHOLE_NUMBER: Final = re.compile(r"\s*-?[0-9]{1,19}\s*")


def object_in(payload: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the object under a name, an empty one where there is none."""
    value = payload.get(name)
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}


def objects_in(payload: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    """Return the objects in the list under a name, none where there is no list."""
    entries = payload.get(name)
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def as_text(value: object) -> str:
    """Return a text, "" for anything else."""
    return value if isinstance(value, str) else ""


def variation_key_in(meta: Mapping[str, object]) -> str:
    """Return a variation's key; "" for one that no token can hold."""
    key = as_text(meta.get("variationKey"))
    return "" if utf8_fault(key) else key


def version_in(meta: Mapping[str, object]) -> int:
    """Return a variation's version as an integer; 1 unless it has one of at most 64 bits."""
    version = meta.get("version")
    return int(version) if is_number(version) else 1


def whole_number(value: object) -> int | None:
    """Return a whole number, which may be written as text; `None` for anything else."""
    number = int(value) if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else value
    return int(number) if is_number(number) and number == int(number) else None


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number of at most 64 bits."""
    # JSON also has numbers that no float holds, nor any other SDK; a token's version has the same limit.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_VERSION
