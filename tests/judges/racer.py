"""A process whose runs are judged.

It shares a ledger with others. After so many runs, unless that is 0, it kills itself in the middle of its work.
With a queue, each chain counts for a second run, whose judging is left to others: the queue is a file of tasks.
"""

import os
import signal
from functools import partial
from pathlib import Path

from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.judges import Judges, JudgeTask
from langchain_ldai.ledgers import SqliteLedger
from tests.judges.judge_models import JudgeModel
from tests.support.chains import QUESTION, chain
from tests.support.serving import addresses


def append_to(path: Path, task: JudgeTask) -> None:
    """Put a task into a file, where it outlives the process."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{task.to_json()}\n")


def make_runs(url: str, directory: str, first: int, count: int, killed_after: int, queue: str = "") -> None:
    """Make the runs, each under an id that follows from its number, and wait for their judges."""
    events = DurableEvents(Path(directory) / "events")
    config = Config("sdk-key", **addresses(url), event_processor_class=events, diagnostic_opt_out=True)
    ledger = SqliteLedger(Path(directory) / "claims.db")
    with LDClient(config) as ld, LdAiClient(ld, ledger=ledger, delivery=events) as ai:
        config = ai.completion_config("support-bot", Context.create("user-1"))
        judges = Judges(ai, model=lambda config: JudgeModel())
        handler = LdAiHandler(config, judges=judges, run_ids=lambda metadata: f"run-{metadata['number']}")
        handlers = [handler]
        if queue:
            judges = Judges(ai, model=lambda config: JudgeModel(), defer=partial(append_to, Path(queue)))
            late = LdAiHandler(config, judges=judges, run_ids=lambda metadata: f"late-{metadata['number']}")
            handlers.append(late)
        for number in range(first, first + count):
            chain().invoke(QUESTION, {"callbacks": handlers, "metadata": {"number": number}})
            if number - first + 1 == killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
        handler.flush(60)
        ai.close(60)
