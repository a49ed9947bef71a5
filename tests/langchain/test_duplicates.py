"""A handler that gets an event twice counts it once, and a copy of a handler is that handler (facts 96 to 98)."""

import copy
import pickle
from collections.abc import Callable

import pytest
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, ERROR, FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, agent, chain, counts
from tests.support.models import ScriptedChat
from tests.support.observe import summarize

pytestmark = pytest.mark.asyncio

TWICE = {
    "listed-twice": lambda runnable, handler: (runnable, [handler, handler]),
    "bound-and-passed": lambda runnable, handler: (runnable.with_config(callbacks=[handler]), [handler]),
    "bound-twice-and-passed": lambda runnable, handler: (
        runnable.with_config(callbacks=[handler]).with_config(callbacks=[handler]),
        [handler, handler],
    ),
}
given_twice = pytest.mark.parametrize("give", TWICE.values(), ids=TWICE)


@given_twice
@each({**INVOKED, **STREAMED})
async def test_a_handler_given_twice_counts_a_chain_once(
    call: Call, give: Callable, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """It gets the root's events twice, and each figure goes out once (fact 96)."""
    runnable, callbacks = give(chain(), handler)

    await run(call, runnable, QUESTION, {"callbacks": callbacks})

    (report,) = reports
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@given_twice
@pytest.mark.parametrize(
    "model", [ScriptedChat, lambda: ScriptedChat(script=[ConnectionError()])], ids=["answers", "fails"]
)
@each({**INVOKED, **STREAMED})
async def test_a_handler_given_twice_counts_a_model_once(
    call: Call,
    model: Callable[[], Runnable],
    give: Callable,
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """Where the root is the model call, its tokens and its failure come twice as well (facts 3, 96)."""
    runnable, callbacks = give(model(), handler)

    try:
        await run(call, runnable, "?", {"callbacks": callbacks})
    except ConnectionError:
        assert summarize(reports) == [("error", 1, 1, 0)]
        assert counts(client, reports[0].run_id) == {ERROR: [1]}
    else:
        assert summarize(reports) == [("success", 1, 0, 13)]
        assert len(client.metrics(reports[0].run_id).get(FIRST_TOKEN, [])) == (call in STREAMED.values())


@given_twice
@each({**INVOKED, **STREAMED})
async def test_a_handler_given_twice_counts_an_agent_once(
    call: Call, give: Callable, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Graphs too send the root's events twice, LangGraph 0.6 for a doubled list only (fact 96)."""
    runnable, callbacks = give(agent(), handler)

    await run(call, runnable, AGENT_INPUT, {"callbacks": callbacks})

    assert summarize(reports) == [("success", 2, 0, 26)]
    assert reports[0].summary.tool_calls == ("search",)


@given_twice
@each(BATCHED)
async def test_a_handler_given_twice_counts_each_element_once(
    call: Call, give: Callable, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The doubled roots of a batch interleave (facts 6, 96)."""
    runnable, callbacks = give(chain(), handler)

    await run(call, runnable, QUESTION, {"callbacks": callbacks})

    assert summarize(reports) == [("success", 1, 0, 13)] * 3


@each({**INVOKED, **STREAMED})
async def test_a_models_own_handler_and_the_chains_are_one(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`model.callbacks`, a binding and the config together: LangChain tells it of the model once (fact 97)."""
    model = ScriptedChat(callbacks=[handler]).with_config(callbacks=[handler])

    await run(call, chain(model), QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [("success", 1, 0, 13)]
    assert counts(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}


@each(INVOKED)
async def test_two_handlers_of_one_config_are_two(
    call: Call, config: LdAiCompletionConfig, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Handlers are told apart by identity: no step of a run is kept from either (fact 97)."""
    other = LdAiHandler(config, on_run_end=reports.append)

    await run(call, chain(), QUESTION, {"callbacks": [handler, other]})

    assert (handler == other, handler == copy.copy(handler)) == (False, True)
    assert summarize(reports) == [("success", 1, 0, 13)] * 2


COPIES = {
    "model_copy": lambda model: chain(model.model_copy()),
    "deep-model_copy": lambda model: chain(model.model_copy(deep=True)),
    "deepcopy-of-the-chain": lambda model: copy.deepcopy(chain(model)),
    "copy-of-the-chain": lambda model: copy.copy(chain(model)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@each(INVOKED)
async def test_a_copied_model_reports_to_the_same_handler(
    call: Call, copied: Callable[[ScriptedChat], Runnable], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A deep copy of a model copies its callbacks; a copy of the handler is the handler (fact 98)."""
    await run(call, copied(ScriptedChat(callbacks=[handler])), QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [("success", 1, 0, 13)]


async def test_a_runnable_with_a_handler_is_not_pickled(handler: LdAiHandler) -> None:
    """The error of the attempt says what to do instead (fact 98)."""
    bound = ScriptedChat().with_config(callbacks=[handler])

    with pytest.raises(TypeError, match="make one in the process that uses it"):
        pickle.dumps(bound)


@each(INVOKED)
async def test_a_checkpointer_needs_no_copy_of_the_handler(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangGraph saves a thread's state, never its callbacks (fact 98)."""
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda state: {"messages": [chain().invoke(QUESTION)]})
    builder.add_edge(START, "answer")
    graph = builder.compile(checkpointer=InMemorySaver()).with_config(callbacks=[handler])

    await run(call, graph, AGENT_INPUT, {"configurable": {"thread_id": "1"}})

    assert summarize(reports) == [("success", 1, 0, 13)]
