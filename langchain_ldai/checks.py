"""What options of several rooms can be; a check that fails names the option, its value and what it may be."""

import inspect
from numbers import Real
from reprlib import repr as short_repr


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


def check_count(name: str, value: int) -> int:
    """Return how many there may be.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {short_repr(value)}")
    if value < 1:
        raise ValueError(f"{name} is at least 1, not {value!r}")
    return value


def check_function(name: str, value: object) -> None:
    """Raise `TypeError` where what is to be called, and not awaited, is no function for that; `None` is none."""
    if value is None:
        return
    if not callable(value):
        raise TypeError(f"{name} is a function, not {short_repr(value)}")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} is a plain function; a coroutine function would never be awaited")
