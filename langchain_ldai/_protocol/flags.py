"""Flags in LaunchDarkly's format, as SDKs evaluate them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

Json = dict[str, object]

Change = tuple[str, Json]
"""What an SDK is told over its stream of flags: the name of the event, and its data."""

WHOLE: Final = 100_000
"""The sum of a rollout's weights: LaunchDarkly counts in thousandths of a percent."""


def rollout(weights: Sequence[int], context_kind: str = "user") -> Json:
    """Return what serves each variation to a share of the contexts, the same one to a context each time.

    Args:
        weights: Each variation's share, in thousandths of a percent; their sum is `WHOLE`.
        context_kind: The kind of context whose key decides.
    """
    shares = [{"variation": variation, "weight": weight} for variation, weight in enumerate(weights)]
    return {"rollout": {"contextKind": context_kind, "variations": shares}}


def clause(attribute: str, values: Sequence[object], context_kind: str = "user") -> Json:
    """Return the condition that a context's attribute has one of these values."""
    return {"contextKind": context_kind, "attribute": attribute, "op": "in", "values": list(values)}


def flag_of(
    key: str, variations: Sequence[object], fallthrough: Json | None = None, rules: Sequence[Json] = ()
) -> Json:
    """Return a flag without a version.

    Args:
        key: The flag's key.
        variations: The values that it serves.
        fallthrough: What to serve where no rule matches; without one, the first variation.
        rules: What to serve to contexts that match, the first match first.
    """
    return {
        "key": key,
        "on": True,
        "salt": key,
        "variations": list(variations),
        "fallthrough": fallthrough or {"variation": 0},
        "offVariation": 0,
        "rules": list(rules),
    }


class FlagData:
    """Flags and segments by key.

    A flag's version only grows, also over its deletion: a client ignores a change that has no newer version. What
    changes a flag returns what connected clients are to be told.

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

    def set(self, key: str, value: object) -> Change:
        """Serve a copy of this value to every context; raises as the class does."""
        return self.set_flag(flag_of(key, [json.loads(json.dumps(value, allow_nan=False))]))

    def set_flag(self, flag: Json) -> Change:
        """Serve a flag."""
        key = str(flag["key"])
        self._flags[key] = {**flag, "version": self._next_version(key)}
        return "patch", {"path": f"/flags/{key}", "data": self._flags[key]}

    def delete(self, key: str) -> Change:
        """Serve nothing for this flag.

        Raises:
            KeyError: If there is no such flag.
        """
        del self._flags[key]
        return "delete", {"path": f"/flags/{key}", "version": self._next_version(key)}

    def snapshot(self) -> Json:
        """Return everything, as an SDK asks for it."""
        return {"flags": dict(self._flags), "segments": dict(self._segments)}

    def _next_version(self, key: str) -> int:
        version = self._versions[key] = self._versions.get(key, 0) + 1
        return version
