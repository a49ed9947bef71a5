"""What functions of the caller's give back, which nobody here can await."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from langchain_ldai.errors import WrongResultError


def result_of(function: Callable[..., object], *args: object) -> object:
    """Return what a function of the caller's returns.

    Raises:
        WrongResultError: If that would have to be awaited.
    """
    result = function(*args)
    if inspect.isawaitable(result):
        raise WrongResultError(f"it returned a {described(result)}")
    return result


def described(value: object) -> str:
    """Return the type of a value in words; a coroutine is closed, or Python would warn that nobody awaited it."""
    if inspect.iscoroutine(value):
        value.close()
    awaited = ", which a callback cannot await" if inspect.isawaitable(value) else ""
    return type(value).__name__ + awaited
