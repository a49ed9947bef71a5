"""Checks of arguments, and of what the caller's functions return.

A check that fails names the argument, its value, and what it may be.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Real
from reprlib import repr as short_repr
from threading import TIMEOUT_MAX

from langchain_ldai.errors import WrongResultError


def check_seconds(name: str, value: float) -> float:
    """Return a number of seconds.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not above 0.
    """
    text = f"{name} is a number of seconds above 0, not {short_repr(value)}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(text)
    if not value > 0:
        raise ValueError(text)
    return value


def check_timeout(timeout: float | None) -> float | None:
    """Return for how many seconds to wait; `None` for no limit, and for more seconds than a lock can wait.

    Raises:
        TypeError: If it is no number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or timeout != timeout:
        raise TypeError(f"timeout is a number of seconds, or None for no limit, not {short_repr(timeout)}")
    return timeout if timeout <= TIMEOUT_MAX else None


def check_count(name: str, value: int) -> int:
    """Return a whole number of at least 1.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {short_repr(value)}")
    if value < 1:
        raise ValueError(f"{name} is at least 1, not {value!r}")
    return value


def check_texts(expected: str, texts: Iterable[str], each: str) -> tuple[str, ...]:
    """Return a list of texts.

    Args:
        expected: How the error begins, as in "tool calls are a list of names".
        texts: What was given.
        each: How the error calls one of them, as in "a tool's name".

    Raises:
        TypeError: If it is one text, whose letters would count as texts, or anything else but texts.
    """
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        given = f"one text: [{short_repr(texts)}]" if isinstance(texts, str) else short_repr(texts)
        raise TypeError(f"{expected}, not {given}")
    found = tuple(texts)
    for text in found:
        if not isinstance(text, str):
            raise TypeError(f"{each} is a str, not {type(text).__name__}")
    return found


def is_async(function: object) -> bool:
    """Return whether the result of a function, method, partial or callable object has to be awaited."""
    while isinstance(function, partial):
        function = function.func
    called = function, type(function).__call__
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in called)


def check_plain(name: str, value: object, remedy: str) -> Callable[..., object]:
    """Return a value that is a plain function.

    Raises:
        TypeError: If it is no function, or its result has to be awaited; then the error ends with `remedy`.
    """
    if not callable(value):
        raise TypeError(f"{name} is a function, not {short_repr(value)}")
    if is_async(value):
        raise TypeError(f"{name} is a plain function, not a coroutine function: {remedy}")
    return value


def check_function(name: str, value: object, argument: str = "") -> None:
    """Raise `TypeError` unless a value is `None`, or a function whose result need not be awaited.

    Args:
        name: Name of the option.
        value: What was given for it.
        argument: What the function's one argument is; "" if it is not called with one argument.
    """
    if value is None:
        return
    if isinstance(value, type):
        raise TypeError(f"{name} is a function, not the class {value.__name__}")
    function = check_plain(name, value, "it would never be awaited")
    if argument and not takes_one(function):
        raise TypeError(f"{name} is called with one argument, {argument}, which {short_repr(value)} does not take")


def check_instance(name: str, value: object, expected: str, methods: tuple[str, ...]) -> None:
    """Raise `TypeError` unless a value is an object with certain methods, none of which has to be awaited.

    Args:
        name: Name of the option.
        value: What was given for it.
        expected: How the error describes a right value.
        methods: The names of the methods.
    """
    if isinstance(value, type):
        raise TypeError(f"{name} {expected}; give an instance, not the class {value.__name__}")
    if not all(callable(getattr(value, method, None)) for method in methods):
        raise TypeError(f"{name} {expected}; {type(value).__name__} is no such object")
    for method in methods:
        if is_async(getattr(value, method)):
            raise TypeError(f"{name} {expected}; {method}() of {type(value).__name__} would never be awaited")


def given_as(value: object) -> str:
    """Return how an error names a wrong value: by its type, or as a class."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def takes_one(function: Callable[..., object]) -> bool:
    """Return whether a function can be called with one argument, as far as that can be told."""
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # some built-in functions have no signature
        return True
    except TypeError:
        return False
    return True


def result_of(function: Callable[..., object], *args: object) -> object:
    """Return the result of a caller's function.

    Raises:
        WrongResultError: If the result has to be awaited.
    """
    result = function(*args)
    if inspect.isawaitable(result):
        raise WrongResultError(f"it returned a {described(result)}")
    return result


def described(value: object) -> str:
    """Return the type of a value in words. Close a coroutine, or Python would warn that nobody awaited it."""
    if inspect.iscoroutine(value):
        value.close()
    awaited = ", which a callback cannot await" if inspect.isawaitable(value) else ""
    return type(value).__name__ + awaited
