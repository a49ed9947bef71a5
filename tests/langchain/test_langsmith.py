"""Below LangSmith's runs, and in its groups, a handler has its own roots (facts 112, 116)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.callbacks.manager import trace_as_chain_group
from langchain_core.tracers.context import tracing_v2_enabled
from langsmith import traceable
from langsmith.run_helpers import tracing_context
from langsmith.run_trees import RunTree

from langchain_ldai import LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import INVOKED, Call, each, run
from tests.support.chains import QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.observe import SilentClient, summarize

pytestmark = pytest.mark.asyncio
not_tracing = partial(tracing_context, enabled=False)


@traceable
def call_in_a_trace(handler: LdAiHandler) -> None:
    """Call two chains below a LangSmith run."""
    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})


@traceable
async def acall_in_a_trace(handler: LdAiHandler) -> None:
    """Call two chains below a LangSmith run."""
    for _ in range(2):
        await chain().ainvoke(QUESTION, {"callbacks": [handler]})


@pytest.mark.parametrize("enabled", [True, False], ids=["tracing", "not-tracing"])
@pytest.mark.parametrize("function", [call_in_a_trace, acall_in_a_trace], ids=["sync", "async"])
async def test_each_chain_below_a_langsmith_run_is_a_run(
    function: Callable[..., object], enabled: bool, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Their parent is LangSmith's, which no handler is told of (fact 112)."""
    with tracing_context(enabled=enabled, client=SilentClient()):
        result = function(handler)
        await (result if asyncio.iscoroutine(result) else asyncio.sleep(0))

    assert summarize(reports) == [("success", 1, 0, 13)] * 2


@each(INVOKED)
async def test_a_chain_below_a_run_tree_is_a_run(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The root's parent is the id of a `RunTree` of the caller's (fact 112)."""
    silent = SilentClient()
    tree = RunTree(name="request", client=silent)

    with tracing_context(enabled=True, parent=tree, client=silent):
        await run(call, chain(), QUESTION, {"callbacks": [handler]})

    (report,) = reports
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@pytest.mark.parametrize(
    ("tracing", "expected"),
    [(lambda: tracing_v2_enabled(client=SilentClient()), [("success", 2, 0, 26)]), (not_tracing, [])],
    ids=["tracing", "not-tracing"],
)
async def test_a_group_with_the_handler_is_one_run_where_langsmith_traces(
    tracing: Callable[[], AbstractContextManager],
    expected: list[object],
    handler: LdAiHandler,
    reports: list[RunReport],
) -> None:
    """Where it does not, LangChain leaves out the manager's handlers: nothing is seen or held (fact 116)."""
    manager = CallbackManager([handler], [handler])

    with tracing(), trace_as_chain_group("group", callback_manager=manager) as group:
        for _ in range(2):
            chain().invoke(QUESTION, {"callbacks": group})

    assert summarize(reports) == expected


async def test_each_chain_of_a_group_that_got_the_handler_inside_is_a_run(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The group began before the handler was there: it is a parent that nobody knows (fact 112)."""
    with not_tracing(), trace_as_chain_group("group") as group:
        group.add_handler(handler)
        for _ in range(2):
            await chain().ainvoke(QUESTION, {"callbacks": group})

    assert summarize(reports) == [("success", 1, 0, 13)] * 2
