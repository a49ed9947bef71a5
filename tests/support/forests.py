"""Any forest of runs, its events, and an oracle that says what each of its runs is to be told as."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.errors import GraphInterrupt

from langchain_ldai import LdAiHandler
from tests.support.chains import ERROR, FIRST_TOKEN, SUCCESS, TOOL_CALL

TOTAL = "$ld:ai:tokens:total"
NAMED = "writer"
"""The node that has an AI Config of its own."""


class Stop(BaseException):
    """What stops a chain from outside."""


WAYS = {"success": None, "error": ValueError(), "interrupted": GraphInterrupt(), "cancelled": Stop()}
"""How a step may end, as an outcome, and what it then raises."""
WORST_FIRST = ["error", "interrupted", "cancelled", "success"]


@dataclass(eq=False)
class Node:
    """One LangChain run of the tree, and when things happen to it; a "task" is an attempt of a LangGraph task."""

    kind: str
    parent: "Node | None"
    start: int
    end: int | None
    way: str
    repeats: bool
    streams: bool
    tokens: int
    task: str = ""
    name: str = ""
    step: int = 0
    run_id: UUID = field(default_factory=uuid4)

    def __str__(self) -> str:
        told = f"{self.kind} {self.task} {self.name} step {self.step}: {self.start} to {self.end}, {self.way}"
        return f"{self.parent} / {told}" if self.parent else told

    @property
    def line(self) -> "list[Node]":
        """The root, and what follows it down to the node itself."""
        return [*(self.parent.line if self.parent else ()), self]

    @property
    def root(self) -> "Node":
        """The tree's root."""
        return self.line[0]

    @property
    def attempt(self) -> "Node":
        """The task that it is in, or begins; the root outside one."""
        return [node for node in self.line if node is self.root or node.kind == "task"][-1]

    @property
    def visit(self) -> "Node | None":
        """The visit of the named node that it is in, or is: the outermost."""
        return next((node for node in self.line if node.name == NAMED), None)

    def interrupted_by(self, now: int) -> bool:
        """Whether an interrupt has ended it by now."""
        return self.way == "interrupted" and self.end is not None and self.end <= now

    def goes_on_at(self, now: int) -> bool:
        """Whether it has started and not ended."""
        return self.start < now and (self.end is None or self.end > now)

    def is_whole_at(self, now: int) -> bool:
        """Whether it, and all between it and the root, go on."""
        return all(node.goes_on_at(now) for node in self.line[1:])


SHAPES = [
    (["chain", "stream", "model"], ["chain", "model", "tool", "task"], None),
    (["chain"], ["task", "task", "chain"], 4),
    (["stream"], ["chain", "model"], None),
]
"""What the roots of a forest may be, and the other nodes; and among how many, and none, each finds its parent."""


@st.composite
def forests(draw: st.DrawFn) -> list[Node]:
    """Draw interleaved trees: a child may outlive its parent, never end, or start after its parent's end.

    A task calls a model at once. It may be attempted again, while an attempt goes on or after it; and several
    tasks of a graph may be of one step.
    """
    nodes: list[Node] = []
    begins, kinds, parents = draw(st.sampled_from(SHAPES))
    for _ in range(draw(st.integers(1, 14))):
        parent = draw(st.sampled_from([None, *nodes][:parents]))
        kind = draw(st.sampled_from(kinds if parent else begins))
        after = parent.start if parent else 0
        before = parent.end - 1 if parent and parent.end else after + 20
        if kind != "task" and parent and parent.end and draw(st.booleans()):  # left behind by the parent
            after, before = parent.end, parent.end + 20
        if kind == "task" and parent and parent.root.end:
            before = min(before, parent.root.end - 1)
        if before <= after:
            continue
        start = draw(st.integers(after + 1, before))
        end = draw(st.none() | st.integers(start + 2, start + 30))
        way = draw(st.sampled_from(["success", *(way for way in WAYS if (way, kind) != ("interrupted", "model"))]))
        node = Node(
            kind, parent, start, end, way, draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 50))
        )
        nodes.append(node)
        if kind == "task":
            _task(draw, node, nodes)
            nodes.append(Node("model", node, start + 1, start + 2, "success", False, False, 1))
    return nodes


def _task(draw: st.DrawFn, node: Node, nodes: list[Node]) -> None:
    """Draw which task an attempt is of: one of its own, or one that was attempted before."""
    node.task, node.name = f"task:{len(nodes)}", draw(st.sampled_from([NAMED, NAMED, "other"]))
    node.step = draw(st.sampled_from([1, 1, 1, 0, 2]))
    around = {each.task for each in node.line}
    before = [
        each
        for each in nodes
        if each.kind == "task" and each.root is node.root and each.start < node.start and each.task not in around
    ]
    again = draw(st.none() | st.sampled_from(before)) if before else None
    if again:
        node.task, node.name = again.task, again.name


def play(handler: LdAiHandler, nodes: list[Node]) -> None:
    """Send a forest's events in the order of their times, inner ends first; a repeating node sends each twice."""
    starts = [(node.start, 1, index, node) for index, node in enumerate(nodes)]
    ends = [(node.end, 0, -index, node) for index, node in enumerate(nodes) if node.end]
    for _, is_start, _, node in sorted(starts + ends, key=lambda event: event[:3]):
        for _ in range(1 + node.repeats):
            (_start if is_start else _end)(handler, node)


def _start(handler: LdAiHandler, node: Node) -> None:
    ids = {"run_id": node.run_id, "parent_run_id": node.parent.run_id if node.parent else None, "metadata": {}}
    if (task := node.attempt).kind == "task":
        ids["metadata"] = {
            "langgraph_node": task.name,
            "langgraph_checkpoint_ns": task.task,
            "langgraph_step": task.step,
        }
    if node.kind == "stream":
        handler.on_chain_start(None, {"input": ""}, **ids, defers_inputs=True)
    elif node.kind == "tool":
        handler.on_tool_start({"name": "search"}, "", **ids)
    elif node.kind == "model":
        handler.on_chat_model_start({}, [[]], **ids)
        if node.streams:
            handler.on_llm_new_token("x", run_id=node.run_id)
    else:
        handler.on_chain_start(None, {}, **ids)


def _end(handler: LdAiHandler, node: Node) -> None:
    error = WAYS[node.way]
    if node.kind == "model":
        usage = {"input_tokens": 0, "output_tokens": node.tokens, "total_tokens": node.tokens}
        result = LLMResult(generations=[[ChatGeneration(message=AIMessage("", usage_metadata=usage))]])
        if error:
            handler.on_llm_error(error, run_id=node.run_id, response=result)
        else:
            handler.on_llm_end(result, run_id=node.run_id)
    elif error:
        handler.on_chain_error(error, run_id=node.run_id)
    else:
        handler.on_chain_end({}, run_id=node.run_id)


class Oracle:
    """What a run is to be told as, said of its whole tree at once."""

    def __init__(self, root: Node, nodes: list[Node]) -> None:
        self.root = root
        self.now = root.end or 0
        self.tree = [node for node in nodes if node.root is root]
        self.tasks = sorted((node for node in self.tree if node.kind == "task"), key=lambda node: self.place(node))

    def place(self, node: Node) -> tuple[int, int]:
        """Return a node's place in the order of the starts."""
        return node.start, self.tree.index(node)

    def attempts_after(self, task: Node, now: int) -> list[Node]:
        """Return the later attempts of a task that had begun by now; none is made of one that had succeeded."""
        return [
            each
            for each in self.tasks
            if each.task == task.task and self.place(each) > self.place(task) and each.start <= now
            if worst(*self.told(task, each.start)) != "success"
        ]

    def counts(self, node: Node, now: int) -> bool:
        """Whether nothing that it is in has been attempted again by now."""
        return not any(self.attempts_after(each, now) for each in node.line if each.kind == "task")

    def told(self, attempt: Node, now: int) -> list[str]:
        """Return what has been told of an attempt by now: its own end, and interrupts that were raised in it.

        Those are forgotten that a step of the attempt itself declined, or that nobody waited for.
        """
        raised = [each for each in self.tree if each.attempt is attempt and each.interrupted_by(now)]
        told = [
            "interrupted"
            for each in raised
            if not all(
                self.is_late(origin) or any(above.attempt is attempt for above in self.decliners(origin, now))
                for origin in self.origins(each)
            )
        ]
        return told + ([attempt.way] if attempt.end and attempt.end <= now else [])

    def origins(self, node: Node) -> list[Node]:
        """Return the steps of which an interrupt came up to an interrupted one; itself, where none did."""
        below = [each for each in self.tree if each.parent is node and each.interrupted_by(node.end)]
        return [origin for each in below for origin in self.origins(each)] or [node]

    def decliners(self, origin: Node, now: int) -> list[Node]:
        """Return the step, if any, that by now had ended well or failed, without the interrupt of another one.

        It caught the interrupt, or did not wait until it came. What a graph's task was asked stops the graph,
        unless that fails; and a step in the attempt that asked declines nothing.
        """
        node, came_up = origin, True
        while above := node.parent:
            is_for_graph = came_up and node.kind == "task" and above.kind != "task"
            if above.end is None or above.end > now:
                return [] if is_for_graph else self._went_on(above, node.end, origin, now)
            if above.end < node.end:
                return []
            if above.way in ("success", "error"):
                is_caught = above.way == "error" or not is_for_graph
                return [above] if is_caught and self._declines(above, origin) else []
            if (
                not is_for_graph
                and above.way == "cancelled"
                and (went_on := self._went_on(above, node.end, origin, now))
            ):
                return went_on
            node, came_up = above, above.way == "interrupted"
        return []

    def is_late(self, origin: Node) -> bool:
        """Whether an interrupt was raised in a step below one that had ended: it stops nothing."""
        parent = origin.parent
        return parent is not None and parent.end is not None and parent.end < origin.end

    def _went_on(self, open_step: Node, since: int, origin: Node, now: int) -> list[Node]:
        """Return the step, if any, that ended around an open one, to which an interrupt had come."""
        return [
            each
            for each in open_step.line[-2::-1]
            if each.end is not None and since <= each.end <= now and each.way in ("success", "error")
            if (open_step.end is None or open_step.end > each.end) and self._declines(each, origin)
        ][:1]

    def _declines(self, step: Node, origin: Node) -> bool:
        """Whether a step may have declined an interrupt: its attempt goes on, and is not the one that asked."""
        is_late = step.attempt is not step and step.attempt.end is not None and step.attempt.end < step.end
        return not is_late and origin.attempt is not step.attempt

    def asks(self) -> list[Node]:
        """Return the attempts of which a question is still open at the root's end."""
        open_ones = [
            node
            for node in self.tree
            if node.interrupted_by(self.now)
            and not all(self.decliners(each, self.now) or self.is_late(each) for each in self.origins(node))
        ]
        attempts = {id(node.attempt): node.attempt for node in open_ones}.values()
        return [
            each
            for each in attempts
            if self.counts(each, self.now) and worst(*self.told(each, self.now)) == "interrupted"
        ]

    def own_outcome(self) -> str:
        """Return what the root's end tells by itself."""
        left = any(
            node.kind == "model" and node.streams and node is not self.root and node.is_whole_at(self.now)
            for node in self.tree
        )
        return "cancelled" if self.root.kind == "stream" and self.root.way == "success" and left else self.root.way

    def outcome(self) -> str:
        """Return the run's outcome."""
        return worst(self.own_outcome(), *["interrupted" for _ in self.asks()])

    def is_beside(self, one: Node, later: Node) -> bool:
        """Whether a visit goes on, or is of the same step of a graph, when a later one starts."""
        line, others = ([each for each in node.line if each.kind == "task"] for node in (one, later))
        apart = [(mine, other) for mine, other in zip(line, others, strict=False) if mine is not other]
        if not apart:
            return True
        mine, other = apart[0]
        graph = mine.parent
        if all(each.end is None or each.end > later.start for each in (mine, graph)):
            return True
        return graph is other.parent and graph.kind != "task" and 0 < mine.step == other.step

    def node_outcome(self) -> str:
        """Return the named node's outcome: the worst of the visits beside which all that followed were."""
        visits = [node for node in self.tasks if node.visit is node]
        last = [
            visit
            for number, visit in enumerate(visits)
            if self.counts(visit, self.now) and all(self.is_beside(visit, later) for later in visits[number + 1 :])
        ]
        return worst(*[self._visit_outcome(visit) for visit in last]) or self.outcome()

    def _visit_outcome(self, visit: Node) -> str:
        told = self.told(visit, self.now)
        asked = ["interrupted" for each in self.asks() if visit in each.line]
        if visit.goes_on_at(self.now):
            own = self.own_outcome()
            return worst(*told, *asked, "cancelled" if own == "error" else own)
        graph = visit.parent
        went_on = graph.way == "success" and graph.end and visit.end <= graph.end <= self.now
        failed = worst(*told) == "cancelled" and went_on  # also if what it left behind asks
        return "error" if failed else worst(*told, *asked)

    def retries(self, *, named: bool) -> int:
        """Return how many attempts were made because one before, which counted, had neither worked nor asked."""
        found = 0
        for later in self.tasks:
            before = [each for each in self.tasks[: self.tasks.index(later)] if each.task == later.task][-1:]
            if (
                before
                and bool(before[-1].visit) is named
                and later in self.attempts_after(before[-1], later.start)
            ):
                around = [each for each in before[-1].parent.line if each.kind == "task"]
                again = [made for each in around for made in self.attempts_after(each, later.start)]
                is_part = not any(self.place(made) < self.place(later) for made in again)
                found += is_part and worst(*self.told(before[-1], later.start)) not in ("success", "interrupted")
        return found

    def closed_at(self) -> int:
        """Return when the run is closed: at its root's end, or later, when no model call is open."""
        models = [node for node in self.tree if node.kind == "model"]
        last = max(max(node.start, node.end or 0, self.now) for node in self.tree) + 1
        open_at = {
            now: any(m.start < now and (m.end is None or m.end > now) for m in models) for now in range(last)
        }
        return next((now for now in range(self.now, last) if not open_at[now]), last)

    def counted(self) -> list[Node]:
        """Return the nodes that count, as they start before the run is closed; none where no model is called."""
        closed = self.closed_at()
        counted = [node for node in self.tree if node.start < closed]
        return counted if any(node.kind == "model" for node in counted) else []

    def events(self, *, named: bool) -> Counter[str]:
        """Return what is to be recorded of the run itself or of its named node."""
        counted = self.counted()
        if not counted:
            return Counter()
        mine = [node for node in counted if bool(node.visit) is named]
        calls = [node for node in mine if node.kind == "model"]
        events = Counter({TOTAL: sum(node.tokens for node in calls if node.end)})
        events[TOOL_CALL] = sum(node.kind == "tool" for node in mine)
        events[FIRST_TOKEN] = int(any(node.streams for node in calls))
        outcome = self.node_outcome() if named else self.outcome()
        if calls and outcome in ("success", "error"):
            events[SUCCESS if outcome == "success" else ERROR] = 1
        return +events


def worst(*outcomes: str) -> str:
    """Return the worst of some outcomes, "" of none."""
    return min(outcomes, key=WORST_FIRST.index, default="")
