"""Files that a server's workers share, in a directory that belongs to their user."""

import os
from pathlib import Path


def own_file(name: str) -> str:
    """Return the path of a file that no other user can replace, and no clean-up of temporary files removes.

    It is in the directory in XDG_STATE_HOME, `~/.local/state` where that is not set.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    directory = Path(state) / "langchain-ldai-cookbook"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(directory / name)
