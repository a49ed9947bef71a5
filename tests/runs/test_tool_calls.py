"""A tool call is recorded under LaunchDarkly's key of the tool; a handoff is none."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import StructuredTool
from langgraph.errors import ParentCommand
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import INVOKED, Call, each, run
from tests.support.chains import QUESTION, TOOL_CALL, chain
from tests.support.events import ANSWER

TOOLS = {
    "weather-v2": {"name": "get_weather", "type": "function", "parameters": {}},
    "search": {"type": "function", "parameters": {}},
}
OLDER_TOOLS = [{"name": "get_weather", "type": "function", "parameters": {}}]
USER = Context.create("user-1")


def flag(mode: str = "completion", **parts: object) -> dict[str, object]:
    """Return an AI Config's flag."""
    return {"_ldMeta": {"enabled": True, "mode": mode}, "model": {"name": "small-1"}, **parts}


def use(name: str, result: object = "done") -> None:
    """Call a tool of this name that returns, or raises, the result."""

    def act() -> object:
        if isinstance(result, BaseException):
            raise result
        return result() if callable(result) else result

    StructuredTool.from_function(act, name=name, description="A tool.").invoke({})


def chain_using(*names: str, first: Sequence[str] = ()) -> Runnable:
    """Return a chain that calls a model and then these tools, and others before the model."""

    def act(question: object) -> str:
        for name in first:
            use(name)
        chain().invoke(QUESTION)
        for name in names:
            use(name)
        return "done"

    return RunnableLambda(act)


def recorded_tool_calls(client: RecordingClient) -> list[tuple[str, str]]:
    """Return the tool calls that were recorded: of which AI Config, and of which tool."""
    return [(event.data["configKey"], event.data["toolKey"]) for event in client.events if event.name == TOOL_CALL]


@pytest.mark.asyncio
@each(INVOKED)
async def test_a_tool_is_recorded_by_its_key(call: Call, reports: list[RunReport]) -> None:
    """Where the AI Config serves a tool of that name, its key; else the name; also of those that waited."""
    client = RecordingClient({"bot": flag(tools=TOOLS)})
    handler = LdAiHandler(LdAiClient(client).completion_config("bot", USER), on_run_end=reports.append)

    await run(call, chain_using("search", "other", first=["get_weather"]), "?", {"callbacks": [handler]})

    assert reports[0].summary.tool_calls == ("weather-v2", "search", "other")
    assert recorded_tool_calls(client) == [("bot", key) for key in reports[0].summary.tool_calls]


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ({}, "get_weather"),
        ({"tools": None}, "get_weather"),
        ({"tools": {"a": {"name": "get_weather"}, "b": {"name": "get_weather"}}}, "a"),
        ({"tools": {"get_weather": {"name": "look_outside"}}}, "get_weather"),
        ({"model": {"name": "small-1", "parameters": {"tools": OLDER_TOOLS}}}, "get_weather"),
    ],
    ids=["none", "null", "two of a name", "a key that is another's name", "older form"],
)
def test_the_key_is_that_of_the_tool_with_the_name(served: dict[str, object], expected: str) -> None:
    """A tool is looked up by its name alone; of two the first is taken."""
    client = RecordingClient({"bot": flag(**served)})

    chain_using("get_weather").invoke(
        "?", {"callbacks": [LdAiHandler(LdAiClient(client).completion_config("bot", USER))]}
    )

    assert recorded_tool_calls(client) == [("bot", expected)]


def test_the_official_packages_tools_have_keys_too() -> None:
    """A config of `launchdarkly-server-sdk-ai` serves the same tools."""
    client = RecordingClient({"bot": flag(tools=TOOLS)})

    chain_using("get_weather").invoke(
        "?", {"callbacks": [LdAiHandler(LDAIClient(client).completion_config("bot", USER))]}
    )

    assert recorded_tool_calls(client) == [("bot", "weather-v2")]


class WithTools:
    """An AI Config of another make, whose tools are as given."""

    def __init__(self, tools: object, config: object) -> None:
        self.tools = tools
        self.create_tracker = config.create_tracker


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ({"weather-v2": {"name": "get_weather"}}, "weather-v2"),
        ({7: {"name": "get_weather"}, "x": {"name": 7}, "y": None}, "get_weather"),
        (["get_weather"], "get_weather"),
    ],
)
def test_tools_are_read_leniently(tools: object, expected: str) -> None:
    """What is no tool with a name, or has no key, is none; the tool call is recorded all the same."""
    client = RecordingClient({"bot": flag()})
    config = WithTools(tools, LdAiClient(client).completion_config("bot", USER))

    chain_using("get_weather").invoke("?", {"callbacks": [LdAiHandler(config)]})

    assert recorded_tool_calls(client) == [("bot", expected)]


def test_a_node_has_its_own_tools() -> None:
    """In a named node the keys are those of the node's AI Config, outside it those of the handler's."""
    client = RecordingClient(
        {
            "bot": flag(tools={"run-search": {"name": "search"}}),
            "writer": flag(tools={"node-search": {"name": "search"}}),
        }
    )
    ai, graph = LdAiClient(client), StateGraph(MessagesState)
    for name in ("writer", "reader"):
        graph.add_node(name, lambda state: chain_using("search").invoke("?") and {})
    graph.add_edge(START, "writer")
    graph.add_edge("writer", "reader")
    handler = LdAiHandler(
        ai.completion_config("bot", USER), nodes={"writer": ai.completion_config("writer", USER)}
    )

    graph.compile().invoke({"messages": []}, {"callbacks": [handler]})

    assert recorded_tool_calls(client) == [("writer", "node-search"), ("bot", "run-search")]


GRAPH = {"root": "plan", "edges": {"plan": [{"key": "book"}, {"key": "pay"}], "book": [{"key": "pay"}]}}


def agent_graph(client: RecordingClient, **options: object) -> LdAiHandler:
    """Return a handler for an agent graph of three agents."""
    return LdAiHandler(LdAiClient(client).agent_graph("travel", USER), **options)


@pytest.fixture
def client() -> RecordingClient:
    """A client that serves the agent graph."""
    agents = {key: flag("agent", tools=TOOLS) for key in ("plan", "book", "pay")}
    return RecordingClient({"travel": GRAPH, **agents, "bot": flag()})


def desk(act: Callable[[], object], *, first: Callable[[], object] = lambda: None) -> Runnable:
    """Return a LangGraph whose node `plan` does something, calls a model, and does something else."""

    def plan(state: MessagesState) -> dict[str, object]:
        first()
        chain().invoke(QUESTION)
        act()
        return {}

    graph = StateGraph(MessagesState)
    graph.add_node("plan", plan)
    graph.add_edge(START, "plan")
    return graph.compile()


def go_to(goto: object, **parts: object) -> Command:
    """Return a command to go there."""
    return Command(goto=goto, **parts)


MESSAGE = ToolMessage("done", tool_call_id="1")
HANDOFFS = {
    "goto": go_to("book"),
    "goto of the graph above": go_to("book", graph=Command.PARENT, update={"messages": [MESSAGE]}),
    "one of several": go_to(["log", "book"]),
    "send": go_to(Send("book", {})),
    "sends": go_to([Send("log", {}), Send("pay", {})]),
    "a command among messages": [MESSAGE, go_to("book")],
    "raised": ParentCommand(go_to("book", graph=Command.PARENT)),
}
WORK = {
    "a result": "sunny",
    "an update": Command(update={"messages": [MESSAGE]}),
    "the end": go_to(END),
    "a node that is no agent's": go_to("log"),
    "its own node": go_to("plan"),
    "a message": [MESSAGE],
    "nothing": None,
    "a failure": ValueError("no"),
    "an interrupt": lambda: interrupt("sure?"),
    "a stop": KeyboardInterrupt(),
}


def run_through(handler: LdAiHandler, subject: Runnable) -> None:
    """Run a graph, whatever comes of it."""
    with suppress(ValueError, KeyboardInterrupt, ParentCommand):
        subject.invoke({"messages": []}, {"callbacks": [handler]})


@pytest.mark.parametrize("result", HANDOFFS.values(), ids=HANDOFFS)
def test_a_tool_that_goes_to_another_agent_is_no_tool_call(result: object, client: RecordingClient) -> None:
    """In a run of an agent graph such a tool does nothing but route."""
    run_through(agent_graph(client), desk(lambda: [use("get_weather"), use("transfer", result)]))

    assert recorded_tool_calls(client) == [("plan", "weather-v2")]


@pytest.mark.parametrize("result", WORK.values(), ids=WORK)
def test_any_other_tool_of_an_agent_graph_is_a_tool_call(result: object, client: RecordingClient) -> None:
    """Whatever it returns or raises, once a tool run."""
    run_through(agent_graph(client), desk(lambda: use("get_weather", result)))

    assert recorded_tool_calls(client) == [("plan", "weather-v2")]


@pytest.mark.parametrize("result", HANDOFFS.values(), ids=HANDOFFS)
def test_elsewhere_a_tool_that_goes_somewhere_is_a_tool_call(result: object, client: RecordingClient) -> None:
    """Without an agent graph nothing else tells of the handoff."""
    run_through(LdAiHandler(LdAiClient(client).completion_config("bot", USER)), desk(lambda: use("go", result)))

    assert recorded_tool_calls(client) == [("bot", "go")]


@pytest.mark.parametrize(
    "make", [agent_graph, lambda client: LdAiHandler(LdAiClient(client).completion_config("bot", USER))]
)
def test_a_tool_named_as_a_handoff_is_none(make: Callable[..., LdAiHandler], client: RecordingClient) -> None:
    """A name that begins with `__handoff_` is no tool call in any run."""
    run_through(make(client), desk(lambda: [use("__handoff_book"), use("handoff_book")]))

    assert [tool for _, tool in recorded_tool_calls(client)] == ["handoff_book"]


def test_a_tool_before_the_first_model_call_waits_for_it(client: RecordingClient) -> None:
    """In an agent graph too; a handoff among them is none."""
    found: list[list[tuple[str, str]]] = []

    def first() -> None:
        use("get_weather")
        use("transfer", go_to("book"))
        found.append(recorded_tool_calls(client))

    run_through(agent_graph(client), desk(lambda: found.append(recorded_tool_calls(client)), first=first))

    assert found == [[], [("plan", "weather-v2")]]


def test_a_tool_counts_once_however_often_it_is_told(client: RecordingClient) -> None:
    """A handler that is bound and passed hears of each event twice."""
    handler = agent_graph(client)

    run_through(handler, desk(lambda: use("get_weather")).with_config(callbacks=[handler]))

    assert recorded_tool_calls(client) == [("plan", "weather-v2")]


def start_tool(handler: LdAiHandler, *, calls_model: bool) -> tuple[UUID, UUID, UUID]:
    """Begin a run of the agent graph in whose node a tool has started; return root, node and tool."""
    root, node, tool = uuid4(), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chain_start(
        None,
        {},
        run_id=node,
        parent_run_id=root,
        metadata={"langgraph_node": "plan", "langgraph_checkpoint_ns": "p"},
    )
    handler.on_tool_start({"name": "get_weather"}, "", run_id=tool, parent_run_id=node, metadata={})
    if calls_model:
        handler.on_chat_model_start({}, [[]], run_id=(call := uuid4()), parent_run_id=node, metadata={})
        handler.on_llm_error(ValueError("no"), run_id=call)
    return root, node, tool


def end_like_a_left_stream(handler: LdAiHandler, root: UUID) -> None:
    """End a run as a stream does that its reader leaves."""
    handler.on_chain_error(GeneratorExit(), run_id=root)


CLOSINGS = {
    "ended": end_like_a_left_stream,
    "abandoned": lambda handler, root: [handler.on_chain_start(None, {}, run_id=uuid4(), metadata={})],
}


@pytest.mark.parametrize("close", CLOSINGS.values(), ids=CLOSINGS)
@pytest.mark.parametrize("calls_model", [True, False], ids=["AI run", "no AI run"])
def test_a_tool_that_never_ends_was_called(
    calls_model: bool, close: Callable[[LdAiHandler, UUID], object], client: RecordingClient
) -> None:
    """At the run's close its call is recorded, as no handoff is known of, and not again when it ends after all."""
    handler = agent_graph(client, max_open_runs=1)
    root, node, tool = start_tool(handler, calls_model=calls_model)

    close(handler, root)
    handler.on_tool_end("late", run_id=tool)
    handler.on_tool_start({"name": "get_weather"}, "", run_id=uuid4(), parent_run_id=node, metadata={})
    handler.flush()

    assert recorded_tool_calls(client) == [("plan", "weather-v2")] * calls_model


def test_a_tool_without_a_name_is_called_unknown(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Its call counts all the same."""
    root, call = uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_tool_start(None, "", run_id=uuid4(), parent_run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert [event.data["toolKey"] for event in client.events if event.name == TOOL_CALL] == ["unknown"]
    assert reports[0].summary.tool_calls == ("unknown",)


def test_tags_may_be_anything(handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]) -> None:
    """LangChain takes tags that are no text: nothing is lost by them."""
    root, call, tool = uuid4(), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={}, tags=[1])
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, tags=[None], metadata={})
    handler.on_tool_start("search", "", run_id=uuid4(), parent_run_id=root)  # not as LangChain serializes a tool
    handler.on_tool_start({"name": "search"}, "", run_id=tool, parent_run_id=root, tags=[("a", 1)], metadata={})
    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert client.metrics(reports[0].run_id)[TOOL_CALL] == [1]
