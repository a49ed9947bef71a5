"""A program that resumes runs by their tokens and records on each, at once with others of its kind."""

from pathlib import Path

from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import Feedback, LdAiClient, TokenUsage
from tests.ledgers.places import ledger_at
from tests.support.programs import meet
from tests.support.serving import addresses


def main(folder: str, racers: str, where: str, launchdarkly: str) -> None:
    """Record success, tokens and feedback on every run whose token is in the folder's file `words`."""
    config = Config("sdk-racer", **addresses(launchdarkly), diagnostic_opt_out=True, events_max_pending=100_000)
    client = LDClient(config)
    ai = LdAiClient(client, ledger=ledger_at(where), ledger_timeout=600)
    context = Context.create("user-1")
    meet(Path(folder, "start"), int(racers))
    for token in Path(folder, "words").read_text("utf-8").split():
        tracker = ai.create_tracker(token, context)
        tracker.track_success()
        tracker.track_feedback(Feedback.POSITIVE)
        tracker.track_tokens(TokenUsage(3, 2, 1))
    assert ai.close()
    client.close()
