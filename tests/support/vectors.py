"""The published vectors as pytest parameters; each file's `about` says how to read it."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import pytest
from ldclient import Context

from langchain_ldai.testing import RecordedEvent

JsonObject = dict[str, object]
Case = Mapping[str, object]

DIRECTORY: Final = Path(__file__).parent.parent / "vectors"

NUMBERS_BY_OTHER_WRITERS: Final = {
    "mustache-float-whole": "2.0 was written as 2 by a writer without whole floats",
    "meta-version-float": "3.0 was written as 3 by a writer without whole floats",
}
"""Cases of `config_eval.json` whose float came out of JSON as an integer; read back as a float."""


def cases(file: str, section: str = "cases") -> list[Case]:
    """Return the cases of one section of a vector file."""
    document = json.loads((DIRECTORY / f"{file}.json").read_text("utf-8"))
    found: list[Case] = document[section]
    return found


def graph_flag() -> JsonObject:
    """Return the flag of the small agent graph: node `a`, which hands over to node `b`."""
    document = json.loads((DIRECTORY / "graph_payload.json").read_text("utf-8"))
    flag: JsonObject = document["flag"]
    return flag


def with_ids(wanted: Iterable[Case]) -> list[object]:
    """Return cases as pytest parameters under their own ids."""
    return [pytest.param(case, id=str(case["id"])) for case in wanted]


def unused(every: Iterable[Case], *used: Collection[Case]) -> list[str]:
    """Return the ids of the cases that no test takes and no table skips."""
    taken = {case["id"] for group in used for case in group}
    return [str(case["id"]) for case in every if case["id"] not in taken]


def token_of(case: Case) -> object:
    """Return a decode case's token: as it is, or built as `tokenRepeat`, `tokenBuild` or `tokenHex` says."""
    match case:
        case {"tokenHex": str(digits)}:
            return bytes.fromhex(digits).decode("utf-8")
        case {"tokenRepeat": dict(recipe)}:
            return _repeated(recipe)
        case {"tokenBuild": dict(recipe)}:
            return encode_token(_repeated(recipe))
        case _:
            return case["token"]


def _repeated(recipe: Mapping[str, object]) -> str:
    prefix, unit, count, suffix = (recipe[part] for part in ("prefix", "unit", "count", "suffix"))
    assert isinstance(count, int)
    return f"{prefix}{str(unit) * count}{suffix}"


def encode_token(text: str | bytes) -> str:
    """Return the token that holds a text, whatever it says."""
    content = text if isinstance(text, bytes) else text.encode("utf-8")
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def context_of(case: Case) -> Context:
    """Return a case's context."""
    return Context.from_dict(case["context"])


def flags_of(case: Case) -> JsonObject:
    """Return a case's flags by key; without `flag`, the flag does not exist."""
    return {str(case["key"]): case["flag"]} if "flag" in case else {}


def as_written_down(event: RecordedEvent) -> JsonObject:
    """Return a recorded event in the form in which the vectors write events."""
    assert isinstance(event.context, Context)
    return {
        "event": event.name,
        "data": event.data,
        "metricValue": event.value,
        "context": event.context.fully_qualified_key,
    }
