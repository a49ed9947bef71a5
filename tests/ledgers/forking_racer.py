"""A program that claims in a thread and in children it forks meanwhile, at once with others of its kind.

It prints each slot that is granted, and fails where a claim raises or a child does not end.
"""

import os
import random
import signal
import threading
from pathlib import Path

from langchain_ldai.ledgers import Ledger
from tests.ledgers.places import ledger_at
from tests.support.programs import meet

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


def main(folder: str, racers: str, where: str) -> int:
    """Claim three slots of each run in the folder's file `words`, half of them in children."""
    ledger = ledger_at(where)
    runs = Path(folder, "words").read_text("utf-8").split()
    slots = [(run, slot) for run in runs for slot in ("success", "tokens", "feedback")]
    random.shuffle(slots)
    parts = [slots[start : start + CLAIMS_A_CHILD] for start in range(0, len(slots), CLAIMS_A_CHILD)]
    ended: list[None] = []
    meet(Path(folder, "start"), int(racers))
    own = threading.Thread(target=lambda: ended.extend(claim(ledger, part) for part in parts[::2]), daemon=True)
    own.start()
    codes = [claim_in_child(ledger, part) for part in parts[1::2]]
    own.join(PATIENCE_SECONDS)
    return int(any(codes) or len(ended) < len(parts[::2]))
