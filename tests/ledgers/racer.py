"""A process that resumes runs by their tokens and records on each: python racer.py LEDGER LAUNCHDARKLY < tokens.

It says "ready" and begins once its standard input ends, so that several begin together.
"""

import sys

from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import Feedback, LdAiClient, TokenUsage
from tests.ledgers.places import ledger_at
from tests.support.serving import addresses


def main(where: str, launchdarkly: str) -> None:
    """Record success, tokens and feedback on every run."""
    ledger = ledger_at(where)
    client = LDClient(
        Config("sdk-racer", **addresses(launchdarkly), diagnostic_opt_out=True, events_max_pending=100_000)
    )
    ai = LdAiClient(client, ledger=ledger, ledger_timeout=600)
    context = Context.create("user-1")
    print("ready", flush=True)  # noqa: T201
    for token in sys.stdin.read().split():
        tracker = ai.create_tracker(token, context)
        tracker.track_success()
        tracker.track_feedback(Feedback.POSITIVE)
        tracker.track_tokens(TokenUsage(3, 2, 1))
    assert ai.close()
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
