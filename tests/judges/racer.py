"""A process whose runs are judged: `python -m tests.judges.racer URL DIRECTORY FIRST COUNT KILLED_AFTER`.

It shares a ledger with others. After so many runs, unless that is 0, it kills itself in the middle of its work.
"""

import os
import signal
import sys
from pathlib import Path

from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.judges import Judges
from langchain_ldai.ledgers import SqliteLedger
from tests.judges.judge_models import JudgeModel
from tests.support.chains import QUESTION, chain


def main(url: str, directory: str, first: int, count: int, killed_after: int) -> None:
    """Make the runs, each under an id that follows from its number, and wait for their judges."""
    events = DurableEvents(Path(directory) / "events")
    addresses = dict.fromkeys(("base_uri", "stream_uri", "events_uri"), url)
    config = Config("sdk-key", **addresses, event_processor_class=events, diagnostic_opt_out=True)
    ledger = SqliteLedger(Path(directory) / "claims.db")
    with LDClient(config) as ld, LdAiClient(ld, ledger=ledger, delivery=events) as ai:
        judges = Judges(ai, model=lambda config: JudgeModel())
        handler = LdAiHandler(
            ai.completion_config("support-bot", Context.create("user-1")),
            judges=judges,
            run_ids=lambda metadata: metadata["number"],
        )
        for number in range(first, first + count):
            chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"number": f"run-{number}"}})
            if number - first + 1 == killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
        handler.flush(60)
        ai.close(60)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
