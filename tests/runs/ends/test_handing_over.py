"""What the table of open runs hands over to be sent."""

from typing import Any, cast

from langchain_ldai._runs.lifetime import RunTable
from langchain_ldai._runs.run import Run
from langchain_ldai._runs.steps import ModelCall, Scope, Step


class LetGo:
    """A lock; once it is let go of, another thread takes it, and has just found something to send."""

    def __init__(self, runs: RunTable) -> None:
        self._runs = runs

    def __enter__(self) -> None:
        self._runs.outbox.clear()

    def __exit__(self, *exception: object) -> None:
        self._runs.outbox.append(cast(Any, "of another thread"))


def test_what_another_thread_is_about_to_send_is_left_to_it() -> None:
    """An event that has nothing to send sends nothing: a run that a timer closes just then has one report."""
    delivered: list[object] = []
    runs = RunTable(delivered.append, max_open_runs=10, run_timeout=60)
    runs.lock = cast(Any, LetGo(runs))
    run = Run("root", "root", None, reports=(), nodes=None, journey=None, outbox=runs.outbox)
    scope = Scope(run=run, totals=None, key="root")
    root = Step("root", scope, None, begins_scope=True, is_plain=False, defers_inputs=False)
    step = Step("step", scope, root, begins_scope=False, is_plain=True, defers_inputs=False)

    runs.start(root)
    runs.start(step)
    runs.first_token(step, ModelCall(provider="", named=""))
    runs.end(step, None)

    assert delivered == []
