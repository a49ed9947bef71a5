"""An AI Config evaluation but for its one question to LaunchDarkly, which a client asks, awaited or not."""

import logging
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Final, Generic, Protocol, Self, TypeVar

from ldclient import Context

from langchain_ldai import events
from langchain_ldai.claims import ClaimingSend, Claims, Ledger, OnLedgerError, claims_in
from langchain_ldai.config import LdAiAgentConfig, LdAiCompletionConfig, LdAiJudgeConfig
from langchain_ldai.defaults import (
    ConfigDefault,
    LdAiAgentConfigDefault,
    LdAiAgentConfigRequest,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfigDefault,
)
from langchain_ldai.graph import LdAiAgentGraph, parse_graph
from langchain_ldai.graph_tracker import LdAiGraphTracker
from langchain_ldai.interpolation import check_context, renderer
from langchain_ldai.payload import (
    JUDGE_PLACEHOLDERS,
    Payload,
    Render,
    parse_agent,
    parse_completion,
    parse_judge,
    usable,
)
from langchain_ldai.resumption import check_key, decode, decode_graph
from langchain_ldai.tracker import LdAiConfigTracker, Send

_log = logging.getLogger(__name__)
ConfigT = TypeVar("ConfigT")
Variables = Mapping[str, object] | None
_Parse = Callable[[str, Payload, Send, Render], ConfigT]

_SDK_CONTEXT: Final = Context.builder("ld-internal-tracking").kind("ld_ai").anonymous(True).build()


class EventSink(Protocol):
    """The one call on an `ldclient` client that delivers metrics; it neither blocks nor raises."""

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None: ...


class FlagClient(EventSink, Protocol):
    """What `LdAiClient` needs of a client; `ldclient.LDClient` has it, and `testing.RecordingClient`."""

    def variation(self, key: str, context: Context, default: object) -> object: ...


class AsyncFlagClient(EventSink, Protocol):
    """What `AsyncLdAiClient` needs of a client; `ldclient.AsyncLDClient` has it."""

    async def variation(self, key: str, context: Context, default: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Evaluation(Generic[ConfigT]):
    """An evaluation prepared up to the question to LaunchDarkly, and how to read the answer."""

    key: str
    context: Context
    fallback: Payload
    read: Callable[[object], ConfigT]


@dataclass(frozen=True, slots=True)
class GraphEvaluation:
    """An agent graph as its own flag describes it, and the questions for its nodes' configs."""

    graph: LdAiAgentGraph
    nodes: tuple[Evaluation[LdAiAgentConfig], ...]


class AiClient:
    """What both clients do around the evaluation of a flag."""

    def __init__(self, sink: EventSink, claims: Claims | None) -> None:
        self._sink = sink
        self._claims = claims
        info = {
            "aiSdkName": "langchain-ldai",
            "aiSdkVersion": version("langchain-ldai"),
            "aiSdkLanguage": "python",
        }
        sink.track(events.SDK_INFO, _SDK_CONTEXT, info, 1)

    @property
    def ledger(self) -> Ledger | None:
        """Where the slots of this client's trackers are claimed, beside in the tracker itself."""
        return self._claims.ledger if self._claims else None

    def with_ledger(self, ledger: Ledger, *, on_error: OnLedgerError = "drop", timeout: float = 60.0) -> Self:
        """Return a client like this one whose trackers claim their slots in another ledger."""
        other = copy(self)
        other._claims = claims_in(ledger, on_error, timeout)
        return other

    def create_tracker(self, token: str, context: Context) -> LdAiConfigTracker:
        """Return a tracker that adds to a run which another process began (spec section 6).

        Args:
            token: The run's resumption token. It is not signed: take it only from whom you trust.
            context: Whom the added metrics are counted for, as a rule the context of the run.

        Raises:
            TypeError: If the token is not a string.
            InvalidResumptionTokenError: If it cannot be read.
        """
        return LdAiConfigTracker(decode(token), self._sender(context))

    def create_graph_tracker(self, token: str, context: Context) -> LdAiGraphTracker:
        """Return a tracker that adds to a run of an agent graph which another process began (spec section 7).

        Args:
            token: The graph run's resumption token. It is not signed: take it only from whom you trust.
            context: Whom the added metrics are counted for, as a rule the context of the run.

        Raises:
            TypeError: If the token is not a string.
            InvalidResumptionTokenError: If it cannot be read, or is of a run of an AI Config.
        """
        return LdAiGraphTracker(decode_graph(token), self._sender(context))

    def _sender(self, context: Context) -> Send:
        check_context(context)
        track = self._sink.track

        def send(event_name: str, data: Mapping[str, object], metric_value: float) -> None:
            track(event_name, context, data, metric_value)

        return ClaimingSend(send, self._claims) if self._claims else send

    def _completion(
        self,
        usage_event: str,
        key: str,
        context: Context,
        default: LdAiCompletionConfigDefault | None,
        render: Render,
    ) -> Evaluation[LdAiCompletionConfig]:
        call = self._evaluation(key, context, default, LdAiCompletionConfigDefault, parse_completion, render)
        self._sink.track(usage_event, context, key, 1)
        return call

    def _agent(
        self,
        key: str,
        context: Context,
        default: LdAiAgentConfigDefault | None,
        render: Render,
        graph_key: str = "",
    ) -> Evaluation[LdAiAgentConfig]:
        parse = partial(parse_agent, graph_key=graph_key)
        return self._evaluation(key, context, default, LdAiAgentConfigDefault, parse, render)

    def _one_agent(
        self,
        usage_event: str,
        key: str,
        context: Context,
        default: LdAiAgentConfigDefault | None,
        render: Render,
    ) -> Evaluation[LdAiAgentConfig]:
        call = self._agent(key, context, default, render)
        self._sink.track(usage_event, context, key, 1)
        return call

    def _agents(
        self, requests: Iterable[str | LdAiAgentConfigRequest], context: Context
    ) -> list[Evaluation[LdAiAgentConfig]]:
        if isinstance(requests, str):
            raise TypeError(f"agent_configs takes a list of keys or requests, not one text: [{requests!r}]")
        wanted = [LdAiAgentConfigRequest(item) if isinstance(item, str) else item for item in requests]
        calls = [
            self._agent(item.key, context, item.default, renderer(item.key, context, item.variables))
            for item in wanted
        ]
        self._sink.track(events.USAGE_AGENT_CONFIGS, context, len(wanted), len(wanted))
        return calls

    def _graph(self, key: str, context: Context, variables: Variables) -> Evaluation[GraphEvaluation]:
        check_key(key)
        send = self._sender(context)
        self._sink.track(events.USAGE_AGENT_GRAPH, context, key, 1)

        def read(value: object) -> GraphEvaluation:
            graph = parse_graph(key, value, send)
            wanted = graph.reachable() if graph.enabled else ()
            nodes = (
                self._agent(node, context, None, renderer(node, context, variables), graph_key=key)
                for node in wanted
            )
            return GraphEvaluation(graph, tuple(nodes))

        return Evaluation(key, context, {}, read)

    def _judge(
        self,
        usage_event: str,
        key: str,
        context: Context,
        default: LdAiJudgeConfigDefault | None,
        render: Render,
    ) -> Evaluation[LdAiJudgeConfig]:
        call = self._evaluation(key, context, default, LdAiJudgeConfigDefault, parse_judge, render)
        self._sink.track(usage_event, context, key, 1)
        return call

    def _evaluation(
        self,
        key: str,
        context: Context,
        given: ConfigDefault | None,
        kind: type[ConfigDefault],
        parse: _Parse[ConfigT],
        render: Render,
    ) -> Evaluation[ConfigT]:
        check_key(key)
        default = kind() if given is None else given
        if not isinstance(default, kind):
            raise TypeError(f"the default of {key!r} is a {kind.__name__}, not {type(default).__name__}")
        fallback, send = default.to_payload(), self._sender(context)

        def read(value: object) -> ConfigT:
            return parse(key, usable(value, kind.mode, key, fallback), send, render)

        return Evaluation(key, context, fallback, read)


def judge_renderer(key: str, context: Context, variables: Variables) -> Render:
    """Return a function that fills in a judge's texts but for its reserved placeholders (spec 2, rule 16)."""
    for name in JUDGE_PLACEHOLDERS.keys() & (variables or {}).keys():
        _log.warning("AI Config %r: the variable %r is reserved in a judge's messages; ignored", key, name)
    return renderer(key, context, {**(variables or {}), **JUDGE_PLACEHOLDERS})
