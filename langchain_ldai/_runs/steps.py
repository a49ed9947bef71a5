"""The steps of a run, and where in the run each is; plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from langchain_ldai._runs.outcome import Outcome
    from langchain_ldai._runs.run import Run
    from langchain_ldai._runs.totals import MetricTotals
    from langchain_ldai._tracking.values import TokenUsage


def key_of(lc_run_id: object) -> object:
    """Return the key of a step: the number of its `UUID`, since a number is hashed much faster than a `UUID`.

    The handler and the recorder, which see every event, do the same without this call.
    """
    return getattr(lc_run_id, "int", lc_run_id)


@dataclass(slots=True, eq=False, kw_only=True)
class Scope:
    """Where in a run a step is: in the run itself, or in an attempt of a LangGraph task.

    Args:
        run: The run.
        totals: Takes the figures; `None` where nothing tracks them.
        key: The key of the step that began it.
        is_visit: Whether it is the run itself, or a visit of a named node.
        parent_scope: The scope in which this one began, `None` for the run itself.
        graph: The task's graph: the parent of the step that began the scope.
        node: The named node that it is in, "" outside one.
        task: LangGraph's name of the task, "" where it names none.
        langgraph_step: The number of the graph's step in which the task runs, 0 where unknown.

    Attributes:
        ended_at: When the step that began it ended, in seconds.
        is_superseded: Whether the task has been attempted again.
        outcome: How it ended. Before its end, `INTERRUPTED` if an interrupt was raised in it, else `None`.
        raised: The number by which Python knows the error that ended it, 0 before that.
    """

    run: Run
    totals: MetricTotals | None
    key: object
    is_visit: bool = True
    parent_scope: Scope | None = None
    graph: Step | None = None
    node: str = ""
    task: str = ""
    langgraph_step: int = 0
    ended_at: float | None = None
    is_superseded: bool = False
    outcome: Outcome | None = None
    raised: int = 0

    def counts(self) -> bool:
        """Whether neither it nor a scope around it has been superseded."""
        scope: Scope | None = self
        while scope is not None and not scope.is_superseded:
            scope = scope.parent_scope
        return scope is None

    def is_beside(self, other: Scope) -> bool:
        """Whether one that begins now, in the same scope, is at work at the same time, or in the same step."""
        if self.ended_at is None and self.graph is not None and self.graph.is_open:
            return True
        return self.graph is other.graph and self.langgraph_step == other.langgraph_step and self.is_in_step()

    def is_in_step(self) -> bool:
        """Whether it is a task in a step of a graph, whose tasks all count as running at the same time."""
        return self.langgraph_step > 0 and not self.is_of_functional_api()

    def is_of_functional_api(self) -> bool:
        """Whether it is a task of LangGraph's functional API, where all tasks have the same step number."""
        around, graph = self.parent_scope, self.graph
        return bool(around and around.parent_scope and graph and around.key == graph.key)

    def lineage(self) -> list[Scope]:
        """Return the scope and those around it, up to the run itself."""
        lineage = [self]
        while (parent := lineage[-1].parent_scope) is not None:
            lineage.append(parent)
        return lineage


@dataclass(slots=True, eq=False)
class Interrupt:
    """An interrupt, and how far up the chain it has come.

    Attributes:
        scopes: The scopes of the steps that it has ended, the one where it was raised first.
        came_to: The next step up, which it ends too unless the step catches it.
        is_for_graph: Whether that step is a graph: it stops there, and yet ends like a success (fact 58).
    """

    scopes: list[Scope] = field(default_factory=list)
    came_to: Step | None = None
    is_for_graph: bool = False

    def ended(self, step: Step) -> None:
        """Note that it has ended a step."""
        scope = step.scope
        self.scopes.append(scope)
        self.came_to = step.parent
        self.is_for_graph = step.begins_scope and not scope.is_of_functional_api()

    def cut_off(self, step: Step) -> None:
        """Note that a step was cancelled: whoever goes on without the step goes on without what had come to it."""
        if self.came_to is step:
            self.came_to, self.is_for_graph = step.parent, False

    def is_over(self) -> bool:
        """Whether it was answered, and its tasks attempted again, so that it can stop nothing any more."""
        is_on_its_way = self.came_to is not None and self.came_to.is_open
        return not is_on_its_way and not any(scope.counts() for scope in self.scopes)

    def is_caught_by(self, step: Step, *, raised: bool) -> bool:
        """Whether a step that ended or raised another error has caught it, outside the scope where it was raised.

        A graph stops at it, but not one that raised another error, as it failed or handed over. A step that ends
        before it has come there goes on without it.
        """
        at = self.came_to
        if at is step:
            is_caught = raised or not self.is_for_graph
        else:
            is_caught = not self.is_for_graph and at is not None and at.is_open and step in at.lineage()
        return is_caught and self.scopes[0] is not step.scope


@dataclass(slots=True, eq=False)
class ModelCall:
    """What is known of a model call.

    Args:
        provider: Name of the model's provider, "" where LangChain does not say.
        named: Name of the model in the start event's metadata, "" where there is none.

    Attributes:
        model: Name of the model where the start tells it, else "".
        charged_to: The totals that it is added to; an agent graph's include its nodes'.
        copies: How often each of its events comes.
        retries: How often LangChain told of a repeated attempt.
        streamed: Whether a chunk has come.
        first_token: The seconds from its start to the first chunk that carried something; `None` before.
        outer: The decision model's call that it is in, `None` outside one.
    """

    provider: str
    named: str
    model: str = ""
    charged_to: Collection[MetricTotals] = ()
    copies: int = 1
    retries: int = 0
    streamed: bool = False
    first_token: float | None = None
    outer: DecisionCall | None = None

    def own_usage(self, usage: TokenUsage | None) -> TokenUsage | None:
        """Return what the call used apart from the calls in it, and report it to the decision around it."""
        if usage is not None and self.outer is not None:
            self.outer.add_inner_usage(usage)
        return usage


@dataclass(slots=True, eq=False)
class DecisionCall(ModelCall):
    """What is known of a decision model's call; LangChain runs it as a chain, with other calls in it (fact 158).

    Args:
        may_be_inherited: Whether the metadata that names a decision model may be the parent's. Within a decision
            model's call, such a step is no model call.

    Attributes:
        inner_usage: What the calls in it have reported so far.
    """

    may_be_inherited: bool = False
    inner_usage: TokenUsage | None = None

    def add_inner_usage(self, usage: TokenUsage) -> None:
        """Add what a call in it has reported."""
        self.inner_usage = usage if self.inner_usage is None else self.inner_usage + usage

    def own_usage(self, usage: TokenUsage | None) -> TokenUsage | None:
        """Return what the call used apart from the calls in it, and report both to the decision around it.

        A decision model that reports exactly what the calls in it reported only repeats their figures.
        """
        if self.inner_usage is not None and self.outer is not None:
            self.outer.add_inner_usage(self.inner_usage)
        return ModelCall.own_usage(self, None if usage == self.inner_usage else usage)


@dataclass(slots=True, eq=False)
class Step:
    """A step of a run.

    Args:
        key: Its key.
        scope: Where it is.
        parent: Its parent, `None` of the root.
        begins_scope: Whether the scope begins with it.
        is_plain: Whether it begins no scope and is neither a model call nor a tool. Its end, if it succeeds, says
            nothing more.
        defers_inputs: Whether it hands on what it reads from other steps, piece by piece.
        call: What is known of its model call, `None` if it is none.
        tool: LaunchDarkly's key of the tool, "" if it is no tool or one that does not count.

    Attributes:
        is_open: Whether it has not ended.
        has_tasks: Whether it is a graph of LangGraph's, in which a task has started.
        started: When it started, in seconds.
    """

    key: object
    scope: Scope
    parent: Step | None
    begins_scope: bool
    is_plain: bool
    defers_inputs: bool
    call: ModelCall | None = None
    tool: str = ""
    is_open: bool = True
    has_tasks: bool = False
    started: float = field(init=False)

    @property
    def begins_visit(self) -> bool:
        """Whether it begins the run, or a visit of a named node."""
        return self.begins_scope and self.scope.is_visit

    @property
    def is_at_work(self) -> bool:
        """Whether it does something of its own while it is open, and does not only hand on what it reads."""
        return self.call is not None or not self.defers_inputs

    def lineage(self) -> list[Step]:
        """Return the step and those above it, up to the root."""
        lineage = [self]
        while (parent := lineage[-1].parent) is not None:
            lineage.append(parent)
        return lineage


HANDOFF_PREFIX: Final = "__handoff_"
"""How the name of a tool begins that only hands over to another agent."""


def name_of_tool(told: Mapping[str, Any]) -> str:
    """Return the name of a tool that is called, from what LangChain tells of the call."""
    return str((told["serialized"] or {}).get("name") or told.get("name") or "unknown")


def arguments_of_tool(told: Mapping[str, Any]) -> object:
    """Return what a tool is given, or its text if LangChain tells no more of the call."""
    given: object = told.get("inputs")
    return told.get("asked") if given is None else given


def tools_offered(told: Mapping[str, Any]) -> object:
    """Return the tools that a model is offered, from what LangChain tells of its call."""
    return (told.get("invocation_params") or {}).get("tools")


class StepResult(NamedTuple):
    """What was read from the result of a step.

    Args:
        usage: The tokens that a model call used.
        model: Name of the model that answered, "" where the result does not say.
        is_handoff: Whether a tool only handed over to another node of an agent graph.
    """

    usage: TokenUsage | None = None
    model: str = ""
    is_handoff: bool = False


NOTHING_READ: Final = StepResult()
