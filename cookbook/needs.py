"""What a program needs to start; where it is missing, the program ends and names it."""

import os
import sys
from pathlib import Path


def variable(name: str, meaning: str) -> str:
    """Return a variable of the environment.

    Args:
        name: Its name.
        meaning: What to set it to, and how to get that.
    """
    value = os.environ.get(name)
    if not value:
        raise SystemExit(f"set {name} to {meaning}")
    return value


def arguments(*names: str) -> list[str]:
    """Return the arguments of the command line, which are as many as the names for them."""
    given = sys.argv[1:]
    if len(given) != len(names):
        raise SystemExit(f"usage: python {Path(sys.argv[0]).name} {' '.join(names)}")
    return given


def redis_url() -> str:
    """Return the address of the Redis that queue and ledger share."""
    return variable(
        "REDIS_URL",
        "the address of a Redis, such as redis://localhost:6379/0; "
        "`docker run -p 6379:6379 redis redis-server --appendonly yes` starts one",
    )
