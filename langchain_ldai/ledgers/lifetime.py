"""How long a ledger remembers a claim."""

from typing import Final

THIRTY_DAYS: Final = 30 * 24 * 3600.0
"""Seconds for which claims are remembered, and sealed tokens are good, unless told otherwise."""


def check_lifetime(ttl: float) -> float:
    """Return a lifetime in seconds, or raise `ValueError` where it is not above 0."""
    if not ttl > 0:
        raise ValueError(f"ttl is a number of seconds above 0, not {ttl!r}")
    return ttl
