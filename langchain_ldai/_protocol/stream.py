"""The stream of flags: first all of them, then each change."""

import json
from typing import Final

from langchain_ldai._protocol.flags import Change, Json

HEARTBEAT: Final = b":\n"
"""A comment. It shows that the stream lives where no flag changes."""


def put(snapshot: Json) -> Change:
    """Return the change that replaces everything a client knows."""
    return "put", {"path": "/", "data": snapshot}


def frame(change: Change) -> bytes:
    """Return a change as the stream carries it."""
    name, data = change
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
