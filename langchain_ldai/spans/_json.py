"""JSON of whatever a chain handles, bounded, that never fails: what JSON lacks becomes its type's name; pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Final

_MAX_DEPTH: Final = 20
_BEYOND_64_BITS: Final = 2**63
_SHARES: Final = (2, 4, 8, 32, 128)


def _type_name(value: object) -> str:
    return type(value).__name__


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_type_name).encode


def to_json(value: object) -> str:
    """Return a value as JSON, in which everything that JSON lacks is the name of its type."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        text = _encode(_plain(value))
    return as_unicode(text)


def cut(text: str, max_length: int) -> str:
    """Return the first characters of a text, without what is no character, which no exporter could send."""
    return as_unicode(text[:max_length])


def json_list(items: Iterable[object], max_length: int, *, is_reversed: bool = False) -> str:
    """Return as many of the first items as fit, as a JSON list, "" where none does.

    Args:
        items: What JSON can hold. If the first is too long, its texts are cut.
        max_length: Characters of the list.
        is_reversed: Whether the first item comes last in the list.
    """
    texts: list[str] = []
    left = max_length - 2
    for item in items:
        text = to_json(item)
        if len(text) > left and not texts:
            text = _shortened(item, left)
        if len(text) > left:
            break
        texts.append(text)
        left -= len(text) + 2
    if is_reversed:
        texts.reverse()
    return f"[{', '.join(texts)}]" if texts else ""


def _shortened(item: object, max_length: int) -> str:
    """Return an item as JSON with its texts cut: to half the characters, or to less where they are many."""
    text, plain = "", _plain(item)
    for share in _SHARES:
        text = to_json(_with_texts_cut(plain, max_length // share))
        if len(text) <= max_length:
            break
    return text


def _with_texts_cut(value: object, max_length: int) -> object:
    match value:
        case str():
            return value[:max_length]
        case dict():
            return {key: _with_texts_cut(each, max_length) for key, each in value.items()}
        case list():
            return [_with_texts_cut(each, max_length) for each in value]
    return value


def _plain(value: object, around: tuple[int, ...] = ()) -> object:
    """Return a value that JSON can hold; what holds itself, or lies too deep, is shown by its type's name.

    Args:
        value: Anything.
        around: The ids of the lists and dictionaries that it is in.
    """
    match value:
        case None | bool() | str():
            return value
        case int() if -_BEYOND_64_BITS <= value < _BEYOND_64_BITS:
            return value
        case float() if math.isfinite(value):
            return value
        case dict() | list() | tuple() if id(value) not in around and len(around) < _MAX_DEPTH:
            within = (*around, id(value))
            if isinstance(value, dict):
                return {str(_plain(key, within)): _plain(each, within) for key, each in value.items()}
            return [_plain(each, within) for each in value]
    return type(value).__name__


def as_unicode(text: str) -> str:
    """Return a text without half of a pair of surrogates, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
