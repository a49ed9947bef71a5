"""A process that claims in a thread and in children it forks meanwhile: python forking_racer.py LEDGER < runs.

It says "ready" and begins once its standard input ends, so that several begin together. It prints each slot that
is granted, and fails where a claim raises or a child does not end.
"""

import os
import random
import signal
import sys
import threading

from langchain_ldai.ledgers import Ledger
from tests.ledgers.places import ledger_at

CLAIMS_A_CHILD = 30
PATIENCE_SECONDS = 120


def claim(ledger: Ledger, slots: list[tuple[str, str]]) -> None:
    """Claim each slot by itself, and print those that are granted."""
    claimant = f"{os.getpid()} {threading.get_ident()}"
    lines = [f"{run} {slot}\n" for run, slot in slots if set(ledger.claim(run, [slot], claimant)) == {slot}]
    os.write(1, "".join(lines).encode())


def claim_in_child(ledger: Ledger, slots: list[tuple[str, str]]) -> int:
    """Claim in a fork, and return how it ended."""
    process = os.fork()
    if process == 0:
        signal.alarm(PATIENCE_SECONDS)
        code = 1
        try:
            claim(ledger, slots)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(process, 0)[1]


def main(where: str) -> int:
    """Claim three slots of each run, half of them in children."""
    ledger = ledger_at(where)
    print("ready", flush=True)  # noqa: T201
    slots = [(run, slot) for run in sys.stdin.read().split() for slot in ("success", "tokens", "feedback")]
    random.shuffle(slots)
    parts = [slots[start : start + CLAIMS_A_CHILD] for start in range(0, len(slots), CLAIMS_A_CHILD)]
    ended: list[None] = []
    own = threading.Thread(target=lambda: ended.extend(claim(ledger, part) for part in parts[::2]), daemon=True)
    own.start()
    codes = [claim_in_child(ledger, part) for part in parts[1::2]]
    own.join(PATIENCE_SECONDS)
    return int(any(codes) or len(ended) < len(parts[::2]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
