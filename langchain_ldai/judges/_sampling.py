"""Which judges of an AI Config are drawn for a run; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any


def draw(run_id: str, judge_key: str) -> float:
    """Return a number from 0 up to 1 for a run and a judge, the same wherever and however often it is asked for.

    A run that another process repeats under its id is then judged there, too, or in neither.

    Args:
        run_id: LaunchDarkly's id of the run.
        judge_key: Key of the judge's AI Config.
    """
    named = f"{run_id}:{judge_key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(sha256(named).digest()[:8]) / 2**64


def is_drawn(drawn: float, sampling_rate: float) -> bool:
    """Return whether a judge that is to score this share of the runs scores the run of this draw."""
    return drawn < sampling_rate


def drawn_judges(judges: Iterable[Any], run_id: str) -> Iterator[str]:
    """Return the keys of the judges that are drawn for a run; of several entries with one key the first counts.

    Args:
        judges: The entries of an AI Config, each with `key` and `sampling_rate`.
        run_id: LaunchDarkly's id of the run.
    """
    seen = set()
    for judge in judges:
        if judge.key not in seen:
            seen.add(judge.key)
            if is_drawn(draw(run_id, judge.key), judge.sampling_rate):
                yield judge.key
