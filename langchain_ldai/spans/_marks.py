"""The marks of a run on a span of another package: reading them, and dropping the resumption token."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from langchain_ldai._runs.metadata import (
    CONFIG_KEY_KEY,
    RESUMPTION_TOKEN_KEY,
    RUN_ID_KEY,
    RUN_ROOT_KEY,
    VARIATION_KEY_KEY,
)

METADATA: Final = "metadata"
"""The attribute in which OpenInference has a step's metadata, as JSON. Others have one attribute for each key."""

_OF_TRACE: Final = "langfuse.trace.metadata."
"""How the attributes begin that Langfuse copies from the first step to all spans of the trace."""

_INHERITED: Final = "traceloop.association.properties."
"""How the attributes begin in which OpenLLMetry has the metadata. Traceloop's SDK copies them to spans of other
packages that start below a step."""

_KEYS: Final = (RUN_ID_KEY, CONFIG_KEY_KEY, VARIATION_KEY_KEY, RUN_ROOT_KEY)
_TEXT: Final = r'"(?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
_JSON_TEXT: Final = re.compile(_TEXT)
_JSON_ENTRY: Final = re.compile(rf'"({"|".join(_KEYS)})"\s*:\s*({_TEXT})')
_TOKEN: Final = re.compile(
    rf"""{RESUMPTION_TOKEN_KEY}(?P<quote>\\*["'])\s*:\s*\\*["'][^"'\\]*(?:\\*["'])?(?P<after>\s*,\s*)?"""
)
"""An entry of the token but for its first quote: in JSON, in JSON within JSON, or in a dictionary made a text.

It begins with the key, so that the search is linear, whatever a user's text around it is.
"""

_TOKEN_ELSEWHERE: Final = re.compile(rf"({RESUMPTION_TOKEN_KEY}[\s\S]{{0,24}}?)[\w.-]{{40,}}={{0,2}}", re.ASCII)
"""The token close behind its key, however the two are written: in a URL, the arguments of a call, YAML or XML."""


class Marks(NamedTuple):
    """What the `ldai_*` metadata of a step says, "" where it says nothing."""

    run_id: str
    config_key: str
    variation_key: str
    is_root: bool


def read_marks(attributes: Mapping[str, object], scope: str) -> Marks | None:
    """Return the marks on a span; `None` where it has none, or only inherited those of a step above it.

    Args:
        attributes: The span's.
        scope: Name of the instrumentation scope that made the span.
    """
    for name in attributes:
        if name.endswith(RUN_ID_KEY) and not _is_inherited(name, scope):
            prefix = name.removesuffix(RUN_ID_KEY)
            return _marks({key: attributes.get(prefix + key) for key in _KEYS})
    told = attributes.get(METADATA)
    if not isinstance(told, str) or RUN_ID_KEY not in told:
        return None
    return _marks(dict(_JSON_ENTRY.findall(told)))


def _is_inherited(name: str, scope: str) -> bool:
    return name.startswith(_OF_TRACE) or (name.startswith(_INHERITED) and "langchain" not in scope)


def _marks(found: Mapping[str, object]) -> Marks | None:
    run_id, config_key, variation_key, is_root = (_text(found.get(key)) for key in _KEYS)
    return Marks(run_id, config_key, variation_key, is_root == "true") if run_id else None


def _text(value: object) -> str:
    """Return a value as a text, decoded where it is a text in JSON, as Langfuse's are."""
    text = "" if value is None else str(value)
    return json.loads(text, strict=False) if _JSON_TEXT.fullmatch(text) else text


def without_token(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes without the resumption token: neither as an attribute, nor within a text."""
    return {name: _cleaned(value) for name, value in attributes.items() if not name.endswith(RESUMPTION_TOKEN_KEY)}


def _cleaned(value: Any) -> Any:  # noqa: ANN401  each type that an attribute may have
    if isinstance(value, str):
        return text_without_token(value)
    if isinstance(value, Mapping):
        return without_token(value)
    return type(value)(map(_cleaned, value)) if isinstance(value, list | tuple) else value


def text_without_token(text: str) -> str:
    """Return a text without the entries of the token, and for each without one of the commas around it.

    In what is neither JSON nor a dictionary, the token itself leaves, and its key stays.
    """
    if RESUMPTION_TOKEN_KEY not in text:
        return text
    kept, at = [], 0
    for found in _TOKEN.finditer(text):
        before = text[at : found.start()].removesuffix(found["quote"]).rstrip()
        follows = before.endswith(",")
        kept.append(before.removesuffix(","))
        at = found.end() - len(found["after"] or "") if follows else found.end()
    return _TOKEN_ELSEWHERE.sub(r"\1", "".join((*kept, text[at:])))
