"""A LaunchDarkly on loopback: flags in its format, and clients that find it."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from langchain_ldai.testing import LoopbackLaunchDarkly


def serving(*flags: Mapping[str, object]) -> LoopbackLaunchDarkly:
    """Return a LaunchDarkly that serves these flags, once its block is entered."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "flags.json"
        path.write_text(json.dumps({"flags": {flag["key"]: flag for flag in flags}}), "utf-8")
        return LoopbackLaunchDarkly.from_file(path)


def addresses(url: str) -> dict[str, str]:
    """Return the options of a client's `Config` by which it finds all of LaunchDarkly at one address."""
    return dict.fromkeys(("base_uri", "stream_uri", "events_uri"), url)
