"""Filling in the mustache tags of a prompt from a caller's variables and context; pure (spec section 3).

The renderer is langchain-core's own. It calls functions that it finds among the variables, so what is
handed to it is reduced to JSON values first: a template reaches mapping keys and list items, and nothing
else of Python.
"""

import logging
from collections.abc import Mapping

from langchain_core.utils import mustache
from ldclient import Context

from langchain_ldai.payload import Render

_log = logging.getLogger(__name__)


def check_context(context: Context) -> None:
    """Raise `TypeError` where something that a metric is to be counted for is no context."""
    if not isinstance(context, Context):
        raise TypeError(f"a context is an ldclient.Context, not {type(context).__name__}")


def as_written(text: str) -> str:
    """Return a text with its tags as they are, for the `..._template` calls."""
    return text


def renderer(key: str, context: Context, variables: Mapping[str, object] | None) -> Render:
    """Return a function that fills in a text's tags.

    A text that is no valid template keeps its raw form, and one warning names the AI Config.

    Args:
        key: The AI Config's key, for the log.
        context: The evaluation's context, reachable as `ldctx`.
        variables: The caller's values by name; one called `ldctx` is replaced.

    Raises:
        TypeError: If the context is none.
        ValueError: If a variable contains itself, or nests too deep to copy.
    """
    check_context(context)
    try:
        scope = {name: _json_value(value) for name, value in (variables or {}).items()}
    except RecursionError:
        raise ValueError(f"a variable for AI Config {key!r} contains itself, or nests too deep") from None
    scope["ldctx"] = _context_value(context)

    def render(text: str) -> str:
        if "{{" not in text:
            return text
        try:
            return mustache.render(text, scope)
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


def _json_value(value: object) -> object:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return str(value)
