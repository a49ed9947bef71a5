"""Record a user's feedback on a run that another process made: `python feedback.py TOKEN`."""

import os

from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import Feedback, LdAiClient
from langchain_ldai.delivery import DurableEvents
from needs import arguments, variable


def settings(events: DurableEvents | None = None) -> Config:
    """Return how to reach LaunchDarkly, or the local one whose address is in LAUNCHDARKLY_URL.

    Args:
        events: Keeps the client's events until LaunchDarkly has accepted them. Without it they are in memory.
    """
    url = os.environ.get("LAUNCHDARKLY_URL")
    if url is None:
        sdk_key = variable(
            "LAUNCHDARKLY_SDK_KEY",
            "the SDK key of your environment, which begins with sdk-, "
            "or LAUNCHDARKLY_URL to the address of a local LaunchDarkly: `langchain-ldai dev` starts one",
        )
        return Config(sdk_key, event_processor_class=events)
    return Config(
        "sdk-local",
        base_uri=url,
        stream_uri=url,
        events_uri=url,
        diagnostic_opt_out=True,
        flush_interval=0.5,
        event_processor_class=events,
    )


def connect(events: DurableEvents | None = None) -> LDClient:
    """Return a client of LaunchDarkly, which `settings` says how to reach."""
    return LDClient(settings(events))


def main() -> None:
    """Resume the run that the token names and record that the user liked the answer."""
    (token,) = arguments("TOKEN")
    client = connect()
    try:
        tracker = LdAiClient(client).create_tracker(token, Context.builder("user-1").name("Sandy").build())
        tracker.track_feedback(Feedback.POSITIVE)
    finally:
        client.close()  # delivers what is still in the client's buffer


if __name__ == "__main__":
    main()
