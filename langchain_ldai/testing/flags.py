"""The flags that the local LaunchDarkly serves, in LaunchDarkly's format."""

import json
from collections.abc import Mapping
from pathlib import Path

Json = dict[str, object]


class FlagData:
    """Flags and segments by key.

    A flag's version only grows, also over its deletion: a client ignores a change that has no newer version.

    Args:
        values: What to serve to every context, by flag key.

    Raises:
        TypeError: If a value is not JSON.
        ValueError: If a value holds NaN or an infinity.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._flags: dict[str, Json] = {}
        self._segments: dict[str, object] = {}
        self._versions: dict[str, int] = {}
        for key, value in (values or {}).items():
            self.set(key, value)

    @classmethod
    def from_file(cls, path: str | Path) -> "FlagData":
        """Return what a JSON file holds: whole `flags` and `segments`, and `flagValues` for short.

        Raises:
            ValueError: If the file is not JSON, or names a flag twice.
        """
        content = json.loads(Path(path).read_text("utf-8"))
        data = cls(content.get("flagValues"))
        for key, flag in content.get("flags", {}).items():
            if key in data._flags:
                raise ValueError(f"the flag {key!r} is both in flags and in flagValues")
            data._flags[key] = {"key": key, "version": 1, **flag}
            data._versions[key] = flag.get("version", 1)
        for key, segment in content.get("segments", {}).items():
            data._segments[key] = {"key": key, "version": 1, **segment}
        return data

    def set(self, key: str, value: object) -> Json:
        """Serve a copy of this value to every context, and return the new flag; raises as the class does."""
        copied = json.loads(json.dumps(value, allow_nan=False))
        flag = self._flags[key] = {
            "key": key,
            "version": self._next_version(key),
            "on": True,
            "salt": key,
            "variations": [copied],
            "fallthrough": {"variation": 0},
            "offVariation": 0,
        }
        return flag

    def delete(self, key: str) -> int:
        """Serve nothing for this flag, and return the version of its deletion.

        Raises:
            KeyError: If there is no such flag.
        """
        del self._flags[key]
        return self._next_version(key)

    def snapshot(self) -> Json:
        """Return everything, as an SDK asks for it."""
        return {"flags": dict(self._flags), "segments": dict(self._segments)}

    def _next_version(self, key: str) -> int:
        version = self._versions[key] = self._versions.get(key, 0) + 1
        return version
