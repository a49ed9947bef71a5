"""Whether two names mean the same model; pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_VENDORS: Final = re.compile(r"^(?:[a-z][a-z0-9-]*\.(?=[a-z]))+")  # us.anthropic.
_EDITION: Final = re.compile(
    r"[-@:](?:(?P<date>\d{4}-\d\d-\d\d|\d\d-\d{4}|\d\d-\d\d|\d{8}|\d{6}|\d{4})"
    r"|(?P<version>v?\d+:\d+|v\d+(?:\.\d+)*|0\d\d)(?::\d+k)?|latest|free)(?=$|:)"
)
_DECIMAL_P: Final = re.compile(r"v(\d+)p(\d+)")  # v3p1
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]")


@lru_cache(maxsize=256)
def same_model(served: str, called: str) -> bool:
    """Whether two names mean the same model.

    A path, a region and vendors may stand before a name, a date and a version behind it. If both names have a
    date, or both a version, it must be the same. Punctuation is ignored: "gpt-35-turbo" is "openai/gpt-3.5-turbo".
    """
    (short, one), (long, other) = sorted((_parts_of(served), _parts_of(called)), key=lambda parts: len(parts[0]))
    return long[-len(short) :] == short and all(one[kind] == other[kind] for kind in one.keys() & other.keys())


def _parts_of(model: str) -> tuple[list[str], dict[str, str]]:
    """Return the parts between colons of a model's name, without what is around it, and its date and version."""
    name, edition = _VENDORS.sub("", model.lower().rpartition("/")[2]), {}
    while match := _EDITION.search(name):
        name = name[: match.start()] + name[match.end() :]
        if date := match["date"]:
            edition["date"] = date.replace("-", "")
        if version := match["version"]:
            edition["version"] = version.lstrip("v").replace(":", ".").removesuffix(".0")
    name = _DECIMAL_P.sub(r"\1\2", name)
    return [_PUNCTUATION.sub("", part) for part in name.split(":")], edition
