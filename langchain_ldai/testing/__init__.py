"""For tests: a client that records, and a LaunchDarkly on this machine for a real client."""

from langchain_ldai.testing.loopback import LoopbackLaunchDarkly
from langchain_ldai.testing.recording import AsyncRecordingClient, RecordedEvent, RecordingClient

__all__ = ["AsyncRecordingClient", "LoopbackLaunchDarkly", "RecordedEvent", "RecordingClient"]
