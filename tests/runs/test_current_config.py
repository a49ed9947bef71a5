"""A step gets the AI Config whose metrics its run records."""

import asyncio
import linecache
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.config import get_config
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, QUESTION, SUCCESS, agent, chain
from tests.support.events import start_call, start_chain
from tests.support.models import ScriptedChat, tool_call
from tests.support.read_log import logged

pytestmark = pytest.mark.asyncio
USER = Context.create("user-1")


class Edited:
    """An AI Config that somebody edits between any two evaluations."""

    def __init__(self, client: RecordingClient) -> None:
        self.client, self.ai, self.given = client, LdAiClient(client), []

    def __call__(self, metadata: object) -> object:
        """Evaluate it, as a handler's function does."""
        flag = {"_ldMeta": {"enabled": True, "variationKey": f"v{len(self.given)}"}}
        self.client.set_flag("bot", flag)
        self.given.append(self.ai.completion_config("bot", USER))
        return self.given[-1]

    def counted(self) -> list[str]:
        """Return the variations that runs were counted for."""
        return [event.data["variationKey"] for event in self.client.events if event.name == SUCCESS]


@pytest.fixture
def edited(client: RecordingClient) -> Edited:
    """A function that gives another variation each time."""
    return Edited(client)


@each({**INVOKED, **STREAMED})
async def test_a_step_is_served_what_its_run_is_counted_for(call: Call, edited: Edited) -> None:
    """The function evaluates once a run; steps before and after the model call get that very AI Config."""
    seen: list[object] = []

    def look(value: object, config: RunnableConfig) -> object:
        seen.append(LdAiHandler.current_config(config))
        return value

    steps = RunnableLambda(look) | chain() | RunnableLambda(look)
    await run(call, steps, QUESTION, {"callbacks": [LdAiHandler(edited)]})

    (given,) = edited.given
    assert all(found is given for found in seen)
    assert seen
    assert edited.counted() == ["v0"]


@each(INVOKED)
async def test_a_root_lambda_gets_it(call: Call, edited: Edited) -> None:
    """Also where nothing is above the step that asks."""
    seen: list[object] = []

    def answer(question: str, config: RunnableConfig) -> str:
        seen.append(LdAiHandler.current_config(config))
        return str(ScriptedChat().invoke(question).content)

    await run(call, RunnableLambda(answer), "How?", {"callbacks": [LdAiHandler(edited)]})

    assert seen == edited.given


@each(INVOKED)
async def test_a_graphs_nodes_and_tools_get_it(call: Call, edited: Edited) -> None:
    """By the config of a node or tool, and by `get_config()` where a signature has none (facts 125, 126)."""
    seen: list[object] = []

    @tool
    def search(config: RunnableConfig) -> str:
        """Search."""
        seen.extend(map(LdAiHandler.current_config, (config, get_config())))
        return "found"

    def node(state: MessagesState, config: RunnableConfig) -> MessagesState:
        seen.extend(map(LdAiHandler.current_config, (config, get_config())))
        inner = agent([search]).invoke({"messages": state["messages"]})
        return {"messages": inner["messages"][-1:]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    await run(call, graph, AGENT_INPUT, {"callbacks": [LdAiHandler(edited)]})

    assert len(seen) == 4
    assert all(found is edited.given[0] for found in seen)
    assert len(edited.given) == 1


async def test_middleware_gets_it_before_the_first_model_call(edited: Edited) -> None:
    """`dynamic_prompt` and `wrap_model_call` build prompt and model from it, sync and async (facts 125, 129)."""
    middleware = pytest.importorskip("langchain.agents.middleware")
    agents = pytest.importorskip("langchain.agents")
    seen: list[object] = []

    def look() -> object:
        seen.append(LdAiHandler.current_config(get_config()))
        return seen[-1]

    class Serving(middleware.AgentMiddleware):
        def before_agent(self, state, runtime):
            look()

        def wrap_model_call(self, request, handler):
            look()
            return handler(request)

        async def awrap_model_call(self, request, handler):
            look()
            return await handler(request)

    prompt = middleware.dynamic_prompt(lambda request: f"variation {look().variation_key}")
    made = agents.create_agent(ScriptedChat(), tools=[], middleware=[Serving(), prompt])

    made.invoke(AGENT_INPUT, {"callbacks": [LdAiHandler(edited)]})
    await made.ainvoke(AGENT_INPUT, {"callbacks": [LdAiHandler(edited)]})

    assert [found.variation_key for found in seen] == ["v0"] * 3 + ["v1"] * 3
    assert edited.counted() == ["v0", "v1"]


async def test_async_steps_without_a_config_get_it(edited: Edited) -> None:
    """In a node that takes no config, in its tasks and in threads it starts with `to_thread` (fact 144)."""
    seen: list[object] = []

    def look() -> None:
        seen.append(LdAiHandler.current_config(get_config()))

    async def task() -> None:
        look()

    async def node(state: MessagesState) -> MessagesState:
        look()
        await asyncio.gather(asyncio.create_task(task()), asyncio.to_thread(look))
        return {"messages": [await ScriptedChat().ainvoke("How?")]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    await graph.ainvoke(AGENT_INPUT, {"callbacks": [LdAiHandler(edited)]})

    assert len(seen) == 3
    assert all(found is edited.given[0] for found in seen)


@each(INVOKED)
async def test_a_named_node_gets_its_own(call: Call, edited: Edited, ai: LdAiClient) -> None:
    """In a node of `nodes=`, and below it, it is that node's; elsewhere the handler's."""
    seen: dict[str, object] = {}
    own = ai.completion_config("support-bot", USER)

    def node(name: str) -> Callable[[MessagesState, RunnableConfig], MessagesState]:
        def act(state: MessagesState, config: RunnableConfig) -> MessagesState:
            below = RunnableLambda(lambda value, config: LdAiHandler.current_config(config))
            seen[name] = LdAiHandler.current_config(config), below.invoke(1)
            return {"messages": [ScriptedChat().invoke("How?")]}

        return act

    graph = StateGraph(MessagesState).add_node("plan", node("plan")).add_node("writer", node("writer"))
    graph.add_edge(START, "plan").add_edge("plan", "writer")
    handler = LdAiHandler(own, nodes={"writer": edited})
    await run(call, graph.compile(), AGENT_INPUT, {"callbacks": [handler]})

    assert seen == {"plan": (own, own), "writer": (edited.given[0], edited.given[0])}
    assert seen["plan"][0] is own


def a_thread_waits_at(line: str) -> bool:
    """Return whether a thread has come to a line of code that has this text in it, and waits there."""
    frames = sys._current_frames().values()
    return any(line in linecache.getline(frame.f_code.co_filename, frame.f_lineno) for frame in frames)


async def test_parallel_visits_of_a_node_have_one_evaluation(client: RecordingClient) -> None:
    """A node's function evaluates once a run, though the node starts in several threads at once."""
    given: list[object] = []
    ai = LdAiClient(client)

    def slowly(metadata: object) -> object:
        given.append(ai.completion_config("support-bot", USER))
        latest = time.monotonic() + 30
        while not a_thread_waits_at("with nodes.resolving:") and time.monotonic() < latest:
            time.sleep(0.001)  # until the other visit wants the config, too
        return given[-1]

    def writer(state: MessagesState, config: RunnableConfig) -> MessagesState:
        assert LdAiHandler.current_config(config) is given[0]
        return {"messages": [ScriptedChat().invoke("How?")]}

    graph = StateGraph(MessagesState).add_node("writer", writer)
    graph.add_conditional_edges(START, lambda state: [Send("writer", state)] * 2)
    graph.compile().invoke(AGENT_INPUT, {"callbacks": [LdAiHandler(None, nodes={"writer": slowly})]})

    assert len(given) == 1


async def test_an_agent_graphs_nodes_get_their_agents(client: RecordingClient) -> None:
    """In an agent's node it is the agent's config, and between the nodes there is none."""
    agent_flag = {"_ldMeta": {"enabled": True, "mode": "agent"}}
    client.set_flag("travel", {"root": "plan", "edges": {"plan": [{"key": "book"}]}})
    client.set_flag("plan", agent_flag)
    client.set_flag("book", agent_flag)
    agents = LdAiClient(client).agent_graph("travel", USER)
    seen: dict[str, object] = {}

    def look(name: str) -> Callable[[MessagesState, RunnableConfig], MessagesState]:
        def act(state: MessagesState, config: RunnableConfig) -> MessagesState:
            seen[name] = LdAiHandler.current_config(config)
            return {"messages": [ScriptedChat().invoke("How?")]}

        return act

    graph = StateGraph(MessagesState)
    for name in ("plan", "between", "book"):
        graph.add_node(name, look(name))
    graph.add_edge(START, "plan").add_edge("plan", "between").add_edge("between", "book")
    graph.compile().invoke(AGENT_INPUT, {"callbacks": [LdAiHandler(agents)]})

    assert seen["plan"] is agents.nodes["plan"]
    assert seen["book"] is agents.nodes["book"]
    assert seen["between"] is None


async def test_it_is_the_very_object_also_of_the_official_package(client: RecordingClient) -> None:
    """What the handler was given is what a step gets."""
    official, seen = LDAIClient(client).completion_config("support-bot", USER), []

    (chain() | (lambda answer, config: seen.append(LdAiHandler.current_config(config)))).invoke(
        QUESTION, {"callbacks": [LdAiHandler(official)]}
    )

    assert seen[0] is official


async def test_of_several_handlers_the_first_that_counts_the_run_wins(edited: Edited, ai: LdAiClient) -> None:
    """One whose function leaves the run alone is passed over, in nested handlers too."""
    own, seen = ai.completion_config("support-bot", USER), []
    inner = RunnableLambda(lambda value, config: seen.append(LdAiHandler.current_config(config)))
    leaves_alone = LdAiHandler(lambda metadata: None)

    def handlers(*given: LdAiHandler) -> RunnableConfig:
        return {"callbacks": [*given]}

    inner.invoke(1, handlers(leaves_alone, LdAiHandler(own), LdAiHandler(edited)))
    (RunnableLambda(lambda value: value) | inner.with_config(handlers(LdAiHandler(edited)))).invoke(
        1, handlers(LdAiHandler(own))
    )
    (RunnableLambda(lambda value: value) | inner.with_config(handlers(LdAiHandler(own)))).invoke(
        1, handlers(leaves_alone)
    )

    assert seen == [own] * 3


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of, but for what a run says at its end of names that no node has had."""
    of_names = "nodes=: no node of a LangGraph has been called"
    return [said for level, said in logged(caplog) if level == "WARNING" and not said.startswith(of_names)]


@pytest.mark.parametrize("ask", [LdAiHandler.current_config, LdAiHandler.current_tracker])
async def test_a_node_that_no_name_is_of_is_told_once(
    ask: Callable[[RunnableConfig], object], ai: LdAiClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt name shows where it costs the node its AI Config, with the names that were given."""
    seen: list[object] = []
    graph = StateGraph(MessagesState).add_node("writer", lambda state, config: seen.append(ask(config)))
    made = graph.add_edge(START, "writer").compile()
    handler = LdAiHandler(None, nodes={"writre": ai.completion_config("support-bot", USER)})

    for _ in range(2):
        made.invoke(AGENT_INPUT, {"callbacks": [BaseCallbackHandler(), handler]})

    told = "no AI Config in the node 'writer': no name in nodes= is this node's. The names given are 'writre'"
    assert seen == [None, None]
    assert warnings_in(caplog) == [told]


NOT_MISSPELT: dict[str, Callable[[], LdAiHandler]] = {
    "run left alone": lambda: LdAiHandler(lambda metadata: None, nodes={"other": lambda metadata: None}),
    "node left alone": lambda: LdAiHandler(None, nodes={"writer": lambda metadata: None}),
}


@pytest.mark.parametrize("make", NOT_MISSPELT.values(), ids=NOT_MISSPELT)
async def test_a_node_that_a_function_leaves_alone_is_not_told(
    make: Callable[[], LdAiHandler], caplog: pytest.LogCaptureFixture
) -> None:
    """There `None` is what the function said."""
    seen: list[object] = []
    graph = StateGraph(MessagesState).add_node(
        "writer", lambda state, config: seen.append(LdAiHandler.current_config(config))
    )

    graph.add_edge(START, "writer").compile().invoke(AGENT_INPUT, {"callbacks": [make()]})

    assert seen == [None]
    assert warnings_in(caplog) == []


async def test_a_node_whose_run_has_ended_is_not_told(ai: LdAiClient, caplog: pytest.LogCaptureFixture) -> None:
    """There nothing has an AI Config any more, whatever the names are."""
    kept: list[RunnableConfig] = []
    graph = StateGraph(MessagesState).add_node("writer", lambda state, config: kept.append(config))
    handler = LdAiHandler(None, nodes={"writre": ai.completion_config("support-bot", USER)})
    graph.add_edge(START, "writer").compile().invoke(AGENT_INPUT, {"callbacks": [handler]})

    assert LdAiHandler.current_config(kept[0]) is None
    assert warnings_in(caplog) == []


async def test_there_is_none_outside_a_run(edited: Edited) -> None:
    """Nor where the function gave none, with a mere list of handlers, or once the run has ended, well or not."""
    seen: list[RunnableConfig] = []
    keep = RunnableLambda(lambda value, config: seen.append(config) or 1 / value)
    handler = LdAiHandler(edited)
    keep.invoke(1, {"callbacks": [handler]})
    with pytest.raises(ZeroDivisionError):
        keep.invoke(0, {"callbacks": [handler]})
    found: list[object] = []
    look = RunnableLambda(lambda value, config: found.append(LdAiHandler.current_config(config)))
    look.invoke(1, {"callbacks": [LdAiHandler(lambda metadata: None)]})
    look.invoke(1)

    configs: list[RunnableConfig] = [{}, {"callbacks": [handler]}, {"callbacks": None}, *seen]

    assert [LdAiHandler.current_config(config) for config in configs] + found == [None] * 7


async def test_there_is_none_once_the_root_has_ended_and_the_run_waits_for_a_model_call(edited: Edited) -> None:
    """How the run went is told by then, though not what it used."""
    handler = LdAiHandler(edited)
    root = start_chain(handler)
    start_call(handler, root)
    config: RunnableConfig = {"callbacks": SimpleNamespace(handlers=[handler], parent_run_id=root)}
    found = [LdAiHandler.current_config(config)]
    handler.on_chain_end({}, run_id=root)

    found.append(LdAiHandler.current_config(config))

    assert found == [*edited.given, None]


async def test_a_model_call_that_is_the_root_has_none_beside_it(edited: Edited) -> None:
    """The config that a bare model was called with is outside of its run: nothing is below it."""
    config: RunnableConfig = {"callbacks": [LdAiHandler(edited)]}

    ScriptedChat().invoke("How?", config)

    assert LdAiHandler.current_config(config) is None
    assert edited.counted() == ["v0"]


async def test_what_a_step_left_behind_gets_it_while_the_run_is_open(edited: Edited) -> None:
    """A task of a step that has ended belongs to the run, and is served what that is counted for."""
    seen: list[object] = []
    tasks: list[asyncio.Task[None]] = []
    has_ended = asyncio.Event()

    async def later(config: RunnableConfig) -> None:
        await has_ended.wait()
        seen.append(LdAiHandler.current_config(config))

    async def leave(value: object, config: RunnableConfig) -> object:
        tasks.append(asyncio.create_task(later(config)))
        return value

    async def wait(value: object) -> object:
        has_ended.set()
        await tasks[0]
        return value

    await (RunnableLambda(leave) | RunnableLambda(wait) | chain()).ainvoke(
        QUESTION, {"callbacks": [LdAiHandler(edited)]}
    )

    assert seen == edited.given


@pytest.mark.parametrize("metadata", [None, {}, {"langgraph_node": ["writer"]}], ids=repr)
async def test_a_config_that_names_no_node_is_none_and_says_nothing(
    metadata: object, ai: LdAiClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A step that is in no node, or says so wrongly, gets `None` where only nodes are tracked."""
    seen: list[object] = []
    said_by_the_question: list[str] = []
    handler = LdAiHandler(None, nodes={"writer": ai.completion_config("support-bot", USER)})

    def look(value: object, config: RunnableConfig) -> None:
        seen.append(LdAiHandler.current_config({**config, "metadata": metadata}))
        said_by_the_question.extend(warnings_in(caplog))

    RunnableLambda(look).invoke(1, {"callbacks": [handler]})

    assert (seen, said_by_the_question) == ([None], [])
    (of_the_run,) = warnings_in(caplog)  # which was in no graph
    assert of_the_run.startswith("nodes=: a run has had no node of a LangGraph")


@pytest.mark.parametrize("ask", [LdAiHandler.current_config, LdAiHandler.current_tracker])
@pytest.mark.parametrize("given", [None, "config", SimpleNamespace(config={})], ids=repr)
async def test_what_is_no_config_says_what_to_pass(ask: Callable[[object], object], given: object) -> None:
    """Neither silence nor an error from inside, for middleware's runtime neither."""
    with pytest.raises(TypeError, match=r"the node or tool was called with, or langgraph\.config\.get_config\(\)"):
        ask(given)


async def test_a_tools_run_does_not_hide_it(edited: Edited) -> None:
    """A tool that an agent calls, and an agent that the tool calls without a config, are in the run (fact 128)."""
    seen: list[object] = []

    @tool
    def ask(question: str = "") -> str:
        """Ask another agent."""

        def look(state: MessagesState) -> MessagesState:
            seen.append(LdAiHandler.current_config(get_config()))
            return {"messages": [ScriptedChat().invoke("How?")]}

        inner: Runnable = StateGraph(MessagesState).add_node("look", look).add_edge(START, "look").compile()
        return str(inner.invoke(AGENT_INPUT)["messages"][-1].content)

    outer = chain_of_agent(ask)
    outer.invoke(AGENT_INPUT, {"callbacks": [LdAiHandler(edited)]})

    assert seen == edited.given


def chain_of_agent(ask: object) -> Runnable:
    """Return an agent that calls the tool once."""
    from tests.support.chains import create_agent

    return create_agent(ScriptedChat(script=[tool_call("ask"), ScriptedChat().script[0]]), [ask])
