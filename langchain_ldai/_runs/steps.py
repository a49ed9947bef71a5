"""The steps of a run: where each is, and what its end is to tell; plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_ldai._runs.reading import Outcome
    from langchain_ldai._runs.run import Run
    from langchain_ldai._runs.totals import Account
    from langchain_ldai._tracking.values import TokenUsage


def key_of(run_id: object) -> object:
    """Return what a step is known by: the number of a `UUID`, whose own hash takes longer than all the rest."""
    return getattr(run_id, "int", run_id)


class Scope:
    """Where in a run a step is, and what is below it: in the run itself, or in an attempt of a LangGraph task.

    Args:
        run: The run.
        account: Where its figures go; `None` where nothing tracks them.
        counted: The accounts that its model calls count for.
        above: The scope in which it began, `None` for the run itself.
        key: What the step that began it is known by.
        graph: What the step above that one is known by: the graph that the task is of.
        node: The named node that it is in, "" outside one.
        task: The task, "" where LangGraph names none.
        number: Which of the graph's steps the task is of, 0 where unknown.

    Attributes:
        ended_at: When the step that began it ended, in seconds.
        is_superseded: Whether the task has been attempted again.
        outcome: How it ended, or, before it has, that an interrupt was raised in it.
    """

    __slots__ = (
        "above",
        "account",
        "counted",
        "ended_at",
        "graph",
        "is_superseded",
        "key",
        "node",
        "number",
        "outcome",
        "run",
        "task",
    )

    def __init__(
        self,
        run: Run,
        account: Account | None,
        counted: Sequence[Account],
        above: Scope | None,
        key: object,
        graph: object,
        node: str = "",
        task: str = "",
        number: int = 0,
        call: ModelCall | None = None,
    ) -> None:
        self.run = run
        self.account = account
        self.counted = counted
        self.above = above
        self.key = key
        self.graph = graph
        self.node = node
        self.task = task
        self.number = number
        self.ended_at: float | None = None
        self.is_superseded = False
        self.outcome: Outcome | None = None

    @property
    def is_visit(self) -> bool:
        """Whether it is the run itself, or a visit of a named node."""
        return self.above is None or self.account is not self.above.account

    def counts(self) -> bool:
        """Whether neither it nor a scope around it has been superseded."""
        return not any(scope.is_superseded for scope in self.line())

    def is_beside(self, other: Scope) -> bool:
        """Whether another scope, which begins, is beside it: at the same time, or in the same step of a graph."""
        line, others = self.line(), other.line()
        while line and others and line[-1] is others[-1]:
            line.pop()
            others.pop()
        if not line:  # the other begins within it
            return True
        branch, new = line[-1], others[-1]
        if branch.ended_at is None and branch.graph in self.run.steps:
            return True
        is_same_step = branch.graph == new.graph and 0 < branch.number == new.number
        return is_same_step and not branch._is_called()

    def _is_called(self) -> bool:
        """Whether the task is of the functional API, whose tasks are all of one step, also one after the other."""
        return self.above is not None and self.above.above is not None and self.above.key == self.graph

    def line(self) -> list[Scope]:
        """Return the scope and those around it, up to the run itself."""
        line = [self]
        while (above := line[-1].above) is not None:
            line.append(above)
        return line


class ModelCall:
    """What is known of a model call.

    Args:
        provider: Name of the model's provider, "" where LangChain does not say.
        is_decision: Whether the model is a decision model, which is a chain to LangChain (fact 158).

    Attributes:
        copies: How often each of its events comes.
        model: Name of the model, "" until it is known.
        retries: How often it was told that an attempt is repeated.
        streamed: Whether a chunk has come.
        outer: The decision model's call that it is in, `None` outside one.
        used_within: What the calls in it have reported so far.
    """

    __slots__ = ("copies", "is_decision", "model", "outer", "provider", "retries", "streamed", "used_within")

    def __init__(self, provider: str, *, is_decision: bool = False) -> None:
        self.copies = 1
        self.model = ""
        self.provider = provider
        self.is_decision = is_decision
        self.retries = 0
        self.streamed = False
        self.outer: ModelCall | None = None
        self.used_within: TokenUsage | None = None

    def used(self, usage: TokenUsage | None) -> TokenUsage | None:
        """Return what the call used that no call in it has reported.

        A decision model that reports just what the calls in it did hands their figures on.
        """
        own = None if usage == self.used_within else usage
        if self.outer is not None:
            for part in filter(None, (self.used_within, own)):
                known = self.outer.used_within
                self.outer.used_within = part if known is None else known + part
        return own


class Step:
    """A step whose end tells more than that it ended: one that began its scope, or a model call.

    Args:
        scope: Where it is.
        parent: What the step above it is known by.
        started: When it started, in seconds.
        call: The model call that it is, if it is one.
        defers_inputs: Whether it hands on what it reads from other steps, as they bring it.
    """

    __slots__ = ("call", "defers_inputs", "parent", "scope", "started")

    def __init__(
        self, scope: Scope, parent: object, started: float, call: ModelCall | None, defers_inputs: bool
    ) -> None:
        self.scope = scope
        self.parent = parent
        self.started = started
        self.call = call
        self.defers_inputs = defers_inputs


PlainStep = tuple[object, bool]
"""Of any other step what the step above it is known by, and whether it defers its inputs."""


def parent_of(step: Step | PlainStep) -> object:
    """Return what the step above a step is known by."""
    return step.parent if isinstance(step, Step) else step[0]
