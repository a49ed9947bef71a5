"""How long a ledger remembers claims, and a sealed token is valid."""

from typing import Final

from langchain_ldai._base.options import check_seconds

THIRTY_DAYS: Final = 30 * 24 * 3600.0
"""The default, in seconds, for claims and for sealed tokens."""

HUNDRED_YEARS: Final = 100 * 365 * 24 * 3600
"""The most seconds for which claims can be remembered. Redis takes no number that is far above."""


def check_lifetime(ttl: float) -> float:
    """Return the seconds for which a ledger remembers claims.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not above 0, or above a hundred years.
    """
    if check_seconds("ttl", ttl) > HUNDRED_YEARS:
        raise ValueError(f"ttl is at most {HUNDRED_YEARS} seconds, a hundred years, not {ttl!r}")
    return ttl
