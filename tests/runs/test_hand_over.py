"""At a root's end everything that is due of a run is handed over at once; what fails keeps nothing else back."""

from typing import Final

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport, TokenUsage
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.agent_graphs import agent, graph_of
from tests.support.chains import AGENT_INPUT, DURATION, FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, chain
from tests.support.deliveries import NotedDelivery
from tests.support.events import ANSWER, start_chain, stream_first_token
from tests.support.models import ScriptedChat

END: Final = [DURATION, *TOKENS, SUCCESS]


def test_the_end_of_a_run_is_one_call(client: RecordingClient, context: Context) -> None:
    """Duration, tokens and outcome go together; the first token went when it came."""
    delivery = NotedDelivery()
    handler = LdAiHandler(LdAiClient(client, delivery=delivery).completion_config("support-bot", context))

    list(chain().stream(QUESTION, {"callbacks": [handler]}))

    assert delivery.names == [[FIRST_TOKEN], END]


def test_without_a_delivery_the_events_are_tracked_in_the_same_order(
    client: RecordingClient, handler: LdAiHandler
) -> None:
    """A client without a delivery gets one call for each event."""
    client.clear()

    list(chain().stream(QUESTION, {"callbacks": [handler]}))

    assert [event.name for event in client.events] == [FIRST_TOKEN, *END]


def test_the_end_of_an_agent_graph_is_one_call(context: Context) -> None:
    """The graph's own metrics, its path, visits and handoffs go together; each node's end is a call."""
    delivery = NotedDelivery()
    client = RecordingClient({"travel": graph_of("a", {"a": "b"}), "a": agent(), "b": agent()})
    graph = StateGraph(MessagesState)
    for name in "ab":
        graph.add_node(name, lambda state: {"messages": [ScriptedChat().invoke("How?")]})
    graph.add_edge(START, "a").add_edge("a", "b")
    handler = LdAiHandler(LdAiClient(client, delivery=delivery).agent_graph("travel", context))

    graph.compile().invoke(AGENT_INPUT, {"callbacks": [handler]})

    own, *nodes = delivery.names
    assert [name.removeprefix("$ld:ai:graph:") for name in own] == [
        "duration:total",
        "total_tokens",
        "invocation_success",
        "path",
        "node",
        "node",
        "handoff_success",
    ]
    assert nodes == [END, END]


def test_the_outcome_of_an_agent_graph_does_not_wait_for_a_model_call(context: Context) -> None:
    """It is handed over when the root ends, and the rest once the last model call has ended."""
    delivery = NotedDelivery()
    client = RecordingClient({"travel": graph_of("a", {}), "a": agent()})
    handler = LdAiHandler(LdAiClient(client, delivery=delivery).agent_graph("travel", context))
    root = start_chain(handler)
    call = stream_first_token(handler, root)

    handler.on_chain_end({}, run_id=root)
    early = list(delivery.names)
    handler.on_llm_end(ANSWER, run_id=call)

    assert early == [["$ld:ai:graph:invocation_success"]]
    assert delivery.names[1:] == [["$ld:ai:graph:duration:total", "$ld:ai:graph:total_tokens"]]


def test_with_a_ledger_the_end_of_a_run_is_handed_over_before_it_is_claimed(
    client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """Each metric is with the delivery when the root has ended, and is sent when the handler is flushed."""
    delivery, ledger = NotedDelivery(), MemoryLedger()
    config = LdAiClient(client, ledger=ledger, delivery=delivery).completion_config("support-bot", context)
    handler = LdAiHandler(config, on_run_end=reports.append)

    chain().invoke(QUESTION, {"callbacks": [handler]})

    (claims,) = delivery.claims
    assert [claim.slot for claim in claims.all] == ["duration_ms", "tokens", "success"]
    assert delivery.calls == []
    assert handler.flush()
    assert [name for names in delivery.names for name in names] == END


class Fails(RecordingClient):
    """A client that fails for some events."""

    failing = frozenset[str]()

    def track(self, event_name: str, *others: object) -> None:
        """Fail, or record the event."""
        if event_name in self.failing:
            raise OSError
        super().track(event_name, *others)


@pytest.mark.parametrize(
    "failing", [{DURATION}, {DURATION, SUCCESS}, {SUCCESS}, set(END)], ids=["first", "two", "last", "all"]
)
def test_an_event_that_fails_keeps_no_other_back(
    failing: set[str], context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are tracked, and the log tells of the first failure with the run's ids."""
    client = Fails({"support-bot": FLAG})
    handler = LdAiHandler(LdAiClient(client).completion_config("support-bot", context))
    client.clear()
    client.failing = frozenset(failing)

    with handler.collect_runs() as runs:
        chain().invoke(QUESTION, {"callbacks": [handler]})

    assert [event.name for event in client.events] == [name for name in END if name not in failing]
    (message,) = caplog.messages
    assert message.startswith("A metric could not be sent and is lost")
    assert f"run_id={runs[0].run_id}]: OSError" in message


@pytest.mark.parametrize(("failing", "error"), [([0], OSError), ([1, 2], ExceptionGroup)], ids=["one", "several"])
def test_who_tracks_by_hand_hears_what_the_client_raises(
    failing: list[int], error: type[Exception], context: Context
) -> None:
    """One failure is raised as it is, and several as a group, once all events have been tracked."""
    client = Fails({"support-bot": FLAG})
    tracker = LdAiClient(client).completion_config("support-bot", context).create_tracker()
    client.failing = frozenset(list(TOKENS)[number] for number in failing)

    with pytest.raises(error):
        tracker.track_tokens(TokenUsage(13, 10, 3))

    assert len(client.metrics(tracker.run_id)) == 3 - len(failing)
