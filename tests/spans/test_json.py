"""JSON of anything, bounded, that never fails."""

import json
import math
from collections.abc import Callable, Iterator
from datetime import date
from enum import IntEnum, StrEnum
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai.spans._json import cut, json_list, to_json


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


class Colour(StrEnum):
    """A text with a name."""

    RED = "red"


class Lazy(dict[str, object]):
    """A dictionary that cannot be read now."""

    def items(self) -> NoReturn:
        """Raise."""
        raise LookupError("not loaded")

    values = items


LOOP: list[object] = []
LOOP += [LOOP, LOOP]
DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]

VALUES: dict[str, tuple[object, object]] = {
    "data": ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}),
    "object": ({"a": object()}, {"a": "object"}),
    "date": ([date(2026, 1, 1)], ["date"]),
    "set": ({1, 2}, "set"),
    "bytes": (b"secret", "bytes"),
    "class": (Level, "EnumType"),
    "enumeration": ([Level.HIGH, Colour.RED], [3, "red"]),
    "keys that are no texts": ({1: "a", (2, 3): "b", None: "c"}, {"1": "a", "[2, 3]": "b", "None": "c"}),
    "no number": ([math.nan, math.inf, 1.5, object()], ["float", "float", 1.5, "object"]),
    "a number of many digits": ([10**5_000, 7, math.nan], ["int", 7, "float"]),
    "a dictionary that raises": ([Lazy(a=1), 2], ["Lazy", 2]),
    "itself": (LOOP, ["list", "list"]),
}


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=VALUES)
def test_what_json_lacks_becomes_its_types_name(value: object, expected: object) -> None:
    """JSON comes of everything, and what it cannot hold is shown by the name of its type."""
    assert json.loads(to_json(value, 200)) == expected


def test_what_lies_too_deep_becomes_its_types_name() -> None:
    """A list in lists without end is shown as deep as a reader would look."""
    assert to_json(DEEP, 200) == "[" * 20 + '"list"' + "]" * 20


class Counting(list[object]):
    """A list of rows that counts how many are read."""

    read = 0

    def __iter__(self) -> Iterator[object]:
        for row in super().__iter__():
            self.read += 1
            yield row


@pytest.mark.parametrize("make", [lambda rows: to_json(rows, 50), lambda rows: json_list([rows], 50)])
def test_of_what_is_long_only_the_beginning_is_read(make: Callable[[object], str]) -> None:
    """A tool may give back a million rows, and the chain waits while a span shows the first."""
    rows = Counting([{"id": number} for number in range(1_000)])

    text = make(rows)

    assert rows.read <= 110
    assert not text or text.startswith('[{"id": 0}, {"id": 1}')


def test_a_call_with_many_arguments_shows_the_first() -> None:
    """What is too long by its number of items ends early, and can be read."""
    (shown,) = json.loads(json_list([{"rows": [{"id": number} for number in range(100_000)]}], 32_768))

    assert shown["rows"][:2] == [{"id": 0}, {"id": 1}]


@pytest.mark.parametrize(("text", "expected"), {"ab\ud800c": "ab?", "größe": "grö", "abcd": "abc"}.items())
def test_a_cut_text_can_be_sent(text: str, expected: str) -> None:
    """A text is cut at characters; half of a pair of surrogates, which UTF-8 cannot hold, is a question mark."""
    assert cut(text, 3) == expected


LISTS: dict[str, tuple[list[object], int, str]] = {
    "all fit": (["a", "b"], 10, '["a", "b"]'),
    "the first fits": (["a", "b"], 9, '["a"]'),
    "the first is cut": (["a" * 20, "b"], 10, '["aaaa"]'),
    "its texts are many": ([["a" * 20] * 4], 30, '[["aaa", "aaa", "aaa", "aaa"]]'),
    "its texts hold each other": (
        [{"a": LOOP, "b": "c" * 40}],
        50,
        '[{"a": ["list", "list"], "b": "' + "c" * 12 + '"}]',
    ),
    "nothing fits": ([{"a": 1}], 5, ""),
    "nothing is there": ([], 100, ""),
}


@pytest.mark.parametrize(("items", "max_length", "expected"), LISTS.values(), ids=LISTS)
def test_a_list_holds_what_fits(items: list[object], max_length: int, expected: str) -> None:
    """A list ends before the item that does not fit; the texts of an item that is too long alone are cut."""
    assert json_list(items, max_length) == expected


def test_a_list_may_hold_the_first_item_last() -> None:
    """Where the latest items count, they are given first, and stand last."""
    assert json_list(["c", "b", "a"], 10, is_reversed=True) == '["b", "c"]'


ANY_TEXT = st.text('aé"\n\x00\ud800', max_size=10)  # half of a pair of surrogates is among them
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT, st.binary(), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(ANY_TEXT, st.integers(), st.dates()), inner, max_size=3),
    ),
    max_leaves=5,
)


@given(st.lists(ANYTHING, max_size=3), st.integers(0, 60))
def test_json_is_bounded_and_can_be_read(items: list[object], max_length: int) -> None:
    """Whatever is given, JSON comes of it that fits, that UTF-8 can hold, and that JSON's own rules allow."""
    text = json_list(items, max_length)

    assert len(text) <= max_length
    if text:
        assert len(json.loads(text.encode(), parse_constant=lambda _: pytest.fail("no JSON"))) <= len(items)
