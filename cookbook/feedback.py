"""Record a user's feedback on a run that another process made: `python feedback.py TOKEN`."""

import os
import sys

from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import Feedback, LdAiClient


def connect() -> LDClient:
    """Return a client of LaunchDarkly, or of the local one whose address is in LAUNCHDARKLY_URL."""
    url = os.environ.get("LAUNCHDARKLY_URL")
    if url is None:
        return LDClient(Config(os.environ["LAUNCHDARKLY_SDK_KEY"]))
    local = Config(
        "sdk-local", base_uri=url, stream_uri=url, events_uri=url, diagnostic_opt_out=True, flush_interval=0.5
    )
    return LDClient(local)


def main() -> None:
    """Resume the run that the token names and record that the user liked the answer."""
    client = connect()
    try:
        tracker = LdAiClient(client).create_tracker(sys.argv[1], Context.builder("user-1").name("Sandy").build())
        tracker.track_feedback(Feedback.POSITIVE)
    finally:
        client.close()  # delivers what is still in the client's buffer


if __name__ == "__main__":
    main()
