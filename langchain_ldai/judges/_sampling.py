"""The draw that decides whether a judge scores a run; pure."""

from __future__ import annotations

from hashlib import sha256


def draw_of(run_id: str, judge_key: str) -> float:
    """Return a number from 0 up to 1 for a run and a judge, the same wherever and however often it is asked for.

    A judge scores the runs whose number is below its sampling rate. So a run that another process repeats under
    its id is judged there, too, or in neither.

    Args:
        run_id: LaunchDarkly's id of the run.
        judge_key: Key of the judge's AI Config.
    """
    return int.from_bytes(sha256(f"{run_id}:{judge_key}".encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64
