"""The metadata of a run: what a handler writes into it, and what helps a function that missed something there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from reprlib import repr as short_repr
from traceback import walk_tb
from types import MappingProxyType
from typing import Final

from langchain_ldai.errors import MAX_NAME_LENGTH

RUN_ID_KEY: Final = "ldai_run_id"
CONFIG_KEY_KEY: Final = "ldai_config_key"
VARIATION_KEY_KEY: Final = "ldai_variation_key"
RESUMPTION_TOKEN_KEY: Final = "ldai_resumption_token"
"""The metadata keys that a handler writes. With `resume=True` the caller gives a token under the last."""
JUDGE_KEY: Final = "ldai_judge"
"""The metadata key by which a judge's own call is known; its value is the judge's key."""

RUN_ROOT_KEY: Final = "ldai_run_root"
"""The key that a handler with `spans="mark"` writes, too: "true" at the root of the run, else "false"."""

_MISSING: Final = (
    ' (if it was looked up in the metadata, that holds {names}: pass {{"metadata": {{"{key}": ...}}}} in the '
    "config of the call)"
)
_NO_ATTRIBUTE: Final = ' (the metadata is a dictionary: metadata["{name}"])'
_UNSET_ENVIRONMENT: Final = " (the environment variable {key} is not set)"
_UNSET_VARIABLE: Final = (
    " (the context variable {name!r} is not set where the run starts: set it before the call, in the same task or "
    "thread, or pass the value in the metadata of the call)"
)


def remedy_for(error: Exception, metadata: Mapping[str, object]) -> str:
    """Return what helps a function that missed a name in a run's metadata, or a variable; "" for other errors."""
    match error:
        case LookupError(args=(ContextVar(name=name), *_)) if _is_name(name):
            return _UNSET_VARIABLE.format(name=name)
        case AttributeError(obj=MappingProxyType(), name=name) if _is_name(name):
            return _NO_ATTRIBUTE.format(name=name)
        case KeyError(args=(key, *_)) if _is_name(key):
            *_, (frame, _) = walk_tb(error.__traceback__)
            if frame.f_globals.get("__name__") == os.__name__:
                return _UNSET_ENVIRONMENT.format(key=key)
            if key not in metadata:
                names = [name for name in metadata if _is_name(name)]
                return _MISSING.format(names=short_repr(names) if names else "nothing", key=key)
    return ""


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier() and len(key) <= MAX_NAME_LENGTH
