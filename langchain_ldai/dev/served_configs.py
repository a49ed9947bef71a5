"""The AI Configs that are served now: those of the file's last good version."""

from __future__ import annotations

import logging
from pathlib import Path

from langchain_ldai._protocol.flags import Change, FlagData, Json
from langchain_ldai.dev.configs_file import mode_of, read_configs
from langchain_ldai.dev.document import ConfigsFileError

_log = logging.getLogger(__name__)


class ServedConfigs:
    """Serves a file's AI Configs, and follows its changes.

    Args:
        path: The file.

    Raises:
        ConfigsFileError: If the file cannot be served.

    Attributes:
        problem: Why the file's newest version is not served; "" if it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str = ""
        self._data = FlagData()
        self._flags: dict[str, Json] = {}
        self._seen = self._stamp()
        self._replace(read_configs(path))

    @property
    def modes(self) -> dict[str, str]:
        """The mode of each AI Config, by key."""
        return {key: mode_of(flag) for key, flag in self._flags.items()}

    def snapshot(self) -> Json:
        """Return all flags, as an SDK asks for them."""
        return self._data.snapshot()

    def changes(self) -> list[Change]:
        """Read the file if it was saved since, and return what a connected client must be told."""
        stamp = self._stamp()
        if stamp == self._seen:
            return []
        self._seen = stamp
        try:
            flags = read_configs(self.path)
        except ConfigsFileError as error:
            self.problem = str(error)
            _log.error("%s. The last good version of the file is still served.", error)
            return []
        self.problem = ""
        changes = self._replace(flags)
        _log.info("%s was read again: AI Configs that changed: %d", self.path.name, len(changes))
        return changes

    def _replace(self, flags: dict[str, Json]) -> list[Change]:
        gone = [self._data.delete(key) for key in self._flags if key not in flags]
        changed = [self._data.set_flag(flag) for key, flag in flags.items() if self._flags.get(key) != flag]
        self._flags = flags
        return gone + changed

    def _stamp(self) -> object:
        """Return what is another value after the file was saved."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
