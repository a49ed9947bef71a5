"""Filling in the mustache tags of a prompt from a caller's variables and context; pure (spec section 3).

langchain-core's parser reads the templates. Its renderer does not fill them in: it calls functions that it finds
among the variables, shows 0 or False for a path that goes on after one, and looks for the rest of a path in outer
scopes. Variables become JSON values first, so that a template reaches keys and items, and nothing else of Python.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Final, NamedTuple

from langchain_core.utils import mustache
from ldclient import Context

from langchain_ldai._configs.payload import Render

_log = logging.getLogger(__name__)

TellMissing = Callable[[str, str], object]
"""Called with the key of an AI Config and the name of a variable that the caller did not give."""

_CONTEXT_NAMES: Final = {"ldctx", "ldContext"}
"""What templates call the context; LaunchDarkly's newer packages have the second name."""


def check_variables(variables: Mapping[str, object] | None) -> None:
    """Raise `TypeError` unless variables are a dictionary or `None`."""
    if variables is not None and not isinstance(variables, Mapping):
        raise TypeError(f"variables is a dictionary of values by name, not {type(variables).__name__}")


def as_written(text: str) -> str:
    """Return a text with its tags as they are."""
    return text


def renderer(
    key: str,
    context: Context,
    variables: Mapping[str, object] | None,
    tell_missing: TellMissing,
    placeholders: Mapping[str, str],
) -> Render:
    """Return a function that fills in a text's tags.

    A text that is no valid template stays as it is, and a warning names the AI Config.

    Args:
        key: The AI Config's key, for the log.
        context: The evaluation's context, which templates reach as `ldctx` and as `ldContext`.
        variables: The caller's values by name. The context replaces one of its own name, with a warning.
        tell_missing: Called with the AI Config's key and the name of a variable that a text shows and the caller
            did not give. A section may ask for one that was not given.
        placeholders: What stays in a text, by name. Each replaces a variable of its own name, with a warning.

    Raises:
        TypeError: If the variables are no dictionary.
        ValueError: If a variable contains itself, or nests too deep to copy.
    """
    check_variables(variables)
    given = variables or {}
    for name in placeholders.keys() & given.keys():
        _log.warning("AI Config %r: the variable %r is reserved in a judge's messages; ignored", key, name)
    try:
        scope = {name: _json_value(value) for name, value in {**given, **placeholders}.items()}
    except RecursionError:
        raise ValueError(f"a variable for AI Config {key!r} contains itself, or nests too deep") from None
    for name in scope.keys() & _CONTEXT_NAMES:
        _log.warning("AI Config %r: the variable %r is reserved for the context; ignored", key, name)
    scope |= dict.fromkeys(_CONTEXT_NAMES, _context_value(context))

    def render(text: str) -> str:
        try:
            return "".join(_filled(_parsed(_tokens(text)), (scope,), partial(tell_missing, key)))
        except (mustache.ChevronError, RecursionError):
            _log.warning(
                "AI Config %r: a text of it is no mustache template, or too deep, and is used as it is", key
            )
            return text

    return render


def _context_value(context: Context) -> dict[str, object]:
    if context.multiple:
        members = (context.get_individual_context(index) for index in range(context.individual_context_count))
        return {
            **{member.kind: _context_value(member) for member in members if member is not None},
            "kind": "multi",
            "key": context.fully_qualified_key,
        }
    value = {name: _json_value(context.get(name)) for name in context.custom_attributes}
    value |= {"kind": context.kind, "key": context.key, "name": context.name}
    if context.anonymous:
        value["anonymous"] = True
    return value


class _Part(NamedTuple):
    """A piece of a template.

    Args:
        tag: Its kind, in langchain-core's words.
        text: The text itself, or the path that the tag names.
        inner: The parts of a section.
    """

    tag: str
    text: str
    inner: list[_Part]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Return the tokens of a template.

    Raises:
        ChevronError: If it is no valid template, also where langchain-core's parser just drops an unclosed tag.
    """
    opening, tag, content = "{{", "", ""
    for tag, content in mustache.tokenize(text):
        if tag == "no escape?":
            raise mustache.ChevronError("a tag with three braces is not closed by three")
        if tag == "set delimiter":
            opening = content.split(" ")[0]
        yield tag, content
    if tag == "literal" and opening and text.endswith(content + opening):
        raise mustache.ChevronError("a tag is not closed")


def _parsed(tokens: Iterator[tuple[str, str]]) -> list[_Part]:
    """Return the parts up to the end of the section, or of the template."""
    parts = []
    for tag, text in tokens:
        if tag == "end":
            break
        parts.append(_Part(tag, text, _parsed(tokens) if tag.endswith("section") else []))
    return parts


def _filled(
    parts: Iterable[_Part], scopes: tuple[object, ...], tell_missing: Callable[[str], object]
) -> Iterator[str]:
    """Return the parts as text; the last scope is the innermost."""
    for tag, text, inner in parts:
        if tag == "literal":
            yield text
        elif tag == "variable":
            yield html.escape(_shown(_found(text, scopes, tell_missing)), quote=False).replace('"', "&quot;")
        elif tag == "no escape":
            yield _shown(_found(text, scopes, tell_missing))
        elif tag == "section":
            for scope in _scopes_of(_found(text, scopes)):
                yield from _filled(inner, (*scopes, scope), tell_missing)
        elif tag == "inverted section" and not _scopes_of(_found(text, scopes)):
            yield from _filled(inner, scopes, tell_missing)


def _found(
    path: str, scopes: tuple[object, ...], tell_missing: Callable[[str], object] = lambda name: None
) -> object:
    """Return the value at a path, `None` if it leads nowhere. Only the first name is looked up in outer scopes."""
    if path == ".":
        return scopes[-1]
    first, *others = path.split(".")
    around = next((members for scope in reversed(scopes) if first in (members := _members(scope))), None)
    if around is None:
        tell_missing(first)
        return None
    value = around[first]
    for name in others:
        value = _members(value).get(name)
    return value


def _members(value: object) -> Mapping[str, object]:
    """Return what a path reaches in a value, by name; the names of a list's items are their positions."""
    if isinstance(value, dict):
        return value
    return {str(place): item for place, item in enumerate(_items(value) or ())}


def _items(value: object) -> list[object] | None:
    if isinstance(value, _IterableText):
        return value.items
    return value if isinstance(value, list) else None


def _scopes_of(value: object) -> list[object]:
    """Return what a section is repeated for: each item of a list, or any other value that is true."""
    items = _items(value)
    if items is not None:
        return items
    return [value] if value else []


def _shown(value: object) -> str:
    is_empty = value is None or (isinstance(value, (list, dict)) and not value)
    return "" if is_empty else str(value)


class _IterableText(str):
    """The text of an iterable, which is iterated over only if a template asks for its items."""

    source: Iterable[object]

    @cached_property
    def items(self) -> list[object]:
        """The items, iterated over once."""
        return [_json_value(item) for item in self.source]


def _json_value(value: object) -> object:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        text = _IterableText(value)
        text.source = value
        return text
    return str(value)
