"""The steps of a run: where each is, and what its end is to tell; plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_ldai.account import Account
    from langchain_ldai.metrics import TokenUsage
    from langchain_ldai.run import Run


def key_of(run_id: object) -> object:
    """Return what a step is known by: the number of a `UUID`, whose own hash takes longer than all the rest."""
    return getattr(run_id, "int", run_id)


class Scope:
    """Where in a run a step is, which it shares with the steps below it up to the next named node.

    Args:
        run: The run.
        account: Where its figures go; `None` where nothing tracks them.
        counted: The accounts that its model calls count for.
        node: The named node of a LangGraph that it is in, "" outside one.
        task: LangGraph's task of that node.
        number: Which of LangGraph's steps that is.
        call: The decision model's call that it is in, `None` outside one.
    """

    __slots__ = ("account", "call", "counted", "node", "number", "run", "task")

    def __init__(
        self,
        run: Run,
        account: Account | None,
        counted: Sequence[Account],
        node: str = "",
        task: str = "",
        number: int = 0,
        call: ModelCall | None = None,
    ) -> None:
        self.run = run
        self.account = account
        self.counted = counted
        self.node = node
        self.task = task
        self.number = number
        self.call = call

    def entered(self, call: ModelCall) -> Scope:
        """Return where a model call is that starts here; that of a decision model is a place for others."""
        call.outer = self.call
        if not call.is_decision:
            return self
        return Scope(self.run, self.account, self.counted, self.node, self.task, self.number, call)


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
    """A step whose end tells more than that it ended: a root, a visit of a named node, or a model call.

    Args:
        scope: Where it is, or where the model call starts that it is.
        around: Where the step above it is, `None` for a root.
        parent: What that step is known by.
        started: When it started, in seconds.
        call: The model call that it is, if it is one.
        task: LangGraph's task that it is in, "" outside one.

    Attributes:
        is_root: Whether it is the root of its run.
        is_visit: Whether it is the root, or a visit of the account's named node.
    """

    __slots__ = ("call", "is_root", "is_visit", "parent", "scope", "started", "task")

    def __init__(
        self,
        scope: Scope,
        around: Scope | None,
        parent: object,
        started: float,
        call: ModelCall | None,
        task: str,
    ) -> None:
        self.scope = scope if call is None else scope.entered(call)
        self.parent = parent
        self.started = started
        self.call = call
        self.task = task
        self.is_root = around is None
        self.is_visit = around is None or scope.account is not around.account


PlainStep = tuple[str, object]
"""Of any other step LangGraph's task that it is in, "" outside one, and what the step above it is known by."""


def parent_of(step: Step | PlainStep) -> object:
    """Return what the step above a step is known by."""
    return step.parent if isinstance(step, Step) else step[1]
