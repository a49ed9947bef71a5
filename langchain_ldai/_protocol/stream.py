"""The stream of flags: first all of them, then each change."""

import json
from typing import Final

from langchain_ldai._protocol.flags import Json

Change = tuple[str, Json]
"""The name of a stream's event, and its data."""

HEARTBEAT: Final = b":\n"
"""A comment. It shows that the stream lives where no flag changes."""


def put(snapshot: Json) -> Change:
    """Return the change that replaces everything a client knows."""
    return "put", {"path": "/", "data": snapshot}


def patch(flag: Json) -> Change:
    """Return the change that adds or replaces one flag."""
    return "patch", {"path": f"/flags/{flag['key']}", "data": flag}


def delete(key: str, version: int) -> Change:
    """Return the change that removes one flag."""
    return "delete", {"path": f"/flags/{key}", "version": version}


def frame(change: Change) -> bytes:
    """Return a change as the stream carries it."""
    name, data = change
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
