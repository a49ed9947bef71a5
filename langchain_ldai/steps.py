"""The steps of a run: where each is, and what its end is to tell; plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_ldai.account import Account
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
    """

    __slots__ = ("account", "counted", "node", "number", "run", "task")

    def __init__(
        self,
        run: Run,
        account: Account | None,
        counted: Sequence[Account],
        node: str = "",
        task: str = "",
        number: int = 0,
    ) -> None:
        self.run = run
        self.account = account
        self.counted = counted
        self.node = node
        self.task = task
        self.number = number


class ModelCall:
    """What is known of a model call.

    Args:
        provider: Name of the model's provider, "" where LangChain does not say.

    Attributes:
        copies: How often each of its events comes.
        model: Name of the model, "" until it is known.
        retries: How often it was told that an attempt is repeated.
        streamed: Whether a chunk has come.
    """

    __slots__ = ("copies", "model", "provider", "retries", "streamed")

    def __init__(self, provider: str) -> None:
        self.copies = 1
        self.model = ""
        self.provider = provider
        self.retries = 0
        self.streamed = False


class Step:
    """A step whose end tells more than that it ended: a root, a visit of a named node, or a model call.

    Args:
        scope: Where it is.
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
        self.scope = scope
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
