"""JSON of whatever a chain handles, bounded, that never fails: what JSON lacks becomes its type's name; pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, TypeVar

_MAX_DEPTH: Final = 20
_BEYOND_64_BITS: Final = 2**63
_SHARES: Final = (2, 4, 8, 32, 128)
_FEW_ITEMS: Final = 100
_ITEM_LENGTH: Final = 16


def _type_name(value: object) -> str:
    return type(value).__name__


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_type_name).encode


def to_json(value: object, max_length: int) -> str:
    """Return a value as JSON, in which everything that JSON lacks is the name of its type.

    Args:
        value: Anything. Of a long value, not much more is read than is wanted.
        max_length: How many characters of the JSON are wanted.
    """
    beyond = max_length + 1
    try:
        if _is_within(value, beyond):
            return as_unicode(_encode(value))
    except Exception:  # noqa: BLE001, S110  a dictionary of somebody's own may raise anything
        pass
    return as_unicode(_encode(_plain(value, _Room(beyond, beyond, beyond))))


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
        text = to_json(item, max_length)
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
    longest, items = max_length // _SHARES[0], max(_FEW_ITEMS, max_length // _ITEM_LENGTH)
    text, plain = "", _plain(item, _Room(items, longest, max_length * _SHARES[-1]))
    for share in _SHARES:
        text = to_json(_with_texts_cut(plain, max_length // share), max_length)
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


@dataclass(slots=True)
class _Room:
    """How much of a value may be copied; a copy uses it up.

    Args:
        items: Values, those within values included.
        longest: Characters of one text.
        characters: Characters of all texts.
    """

    items: int
    longest: int
    characters: int

    def cut(self, text: str) -> str:
        """Return as much of a text as there is room for."""
        text = text[: max(0, min(self.longest, self.characters))]
        self.characters -= len(text)
        return text


def _is_within(value: object, size: int) -> bool:
    """Whether a value, and all that is in it, has fewer items and characters together than `size`."""
    left = [value]
    while left and size > 0:
        each = left.pop()
        size -= 1
        if isinstance(each, str):
            size -= len(each)
        elif isinstance(each, (dict, list, tuple)):
            if len(each) >= size:
                return False
            left.extend(each)
            if isinstance(each, dict):
                left.extend(each.values())
    return size > 0


def _plain(value: object, room: _Room, around: tuple[int, ...] = ()) -> object:
    """Return a value that JSON can hold; what holds itself, or lies too deep, is shown by its type's name.

    Args:
        value: Anything.
        room: How much of it may be copied.
        around: The ids of the lists and dictionaries that it is in.
    """
    room.items -= 1
    match value:
        case None | bool():
            return value
        case str():
            return room.cut(value)
        case int() if -_BEYOND_64_BITS <= value < _BEYOND_64_BITS:
            return value
        case float() if math.isfinite(value):
            return value
        case dict() | list() | tuple() if id(value) not in around and len(around) < _MAX_DEPTH:
            try:
                return _plain_items(value, room, (*around, id(value)))
            except Exception:  # noqa: BLE001  it is of somebody's own
                return type(value).__name__
    return type(value).__name__


def _plain_items(
    values: dict[Any, Any] | list[Any] | tuple[Any, ...], room: _Room, within: tuple[int, ...]
) -> object:
    if not isinstance(values, dict):
        items = takewhile(lambda _: room.items > 0 and room.characters > 0, values)
        return [_plain(each, room, within) for each in items]
    pairs = takewhile(lambda _: room.items > 0 and room.characters > 0, values.items())
    return {str(_plain(key, room, within)): _plain(each, room, within) for key, each in pairs}


def as_unicode(text: str) -> str:
    """Return a text without half of a pair of surrogates, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


_Value = TypeVar("_Value")


def sendable(attributes: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return attributes whose texts UTF-8 can hold: any other an exporter would drop, and log each time."""
    return {name: _as_sendable(value) for name, value in attributes.items()}


def _as_sendable(value: Any) -> Any:  # noqa: ANN401  each type that an attribute may have
    if isinstance(value, str):
        return as_unicode(value)
    return [_as_sendable(each) for each in value] if isinstance(value, (list, tuple)) else value
