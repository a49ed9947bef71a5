"""An AI Config evaluation but for its one question to LaunchDarkly, which a client asks, awaited or not."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, Final, Generic, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from ldclient import Context
from ldclient.evaluation import EvaluationDetail
from ldclient.hook import EvaluationSeriesContext, Hook, Metadata
from ldclient.interfaces import DataSourceState

from langchain_ldai._base.guard import Notices
from langchain_ldai._base.options import is_async
from langchain_ldai._configs.defaults import (
    ConfigDefault,
    LdAiAgentConfigDefault,
    LdAiAgentConfigRequest,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfigDefault,
)
from langchain_ldai._configs.graph import LdAiAgentGraph, parse_graph
from langchain_ldai._configs.payload import (
    JUDGE_PLACEHOLDERS,
    Payload,
    Render,
    parse_agent,
    parse_completion,
    parse_judge,
    usable,
)
from langchain_ldai._configs.templates import check_context, renderer
from langchain_ldai._configs.types import (
    FrozenDict,
    LdAiAgentConfig,
    LdAiCompletionConfig,
    LdAiConfig,
    LdAiJudgeConfig,
)
from langchain_ldai._tracking.graph_tracker import LdAiGraphTracker
from langchain_ldai._tracking.once import Send
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._wire import events
from langchain_ldai._wire.tokens import check_key, decode, decode_graph
from langchain_ldai.ledgers._claims import ClaimingSend, Claims, Ledger, OnLedgerError, claims_in

_log = logging.getLogger(__name__)
ConfigT = TypeVar("ConfigT")
_AiConfigT = TypeVar("_AiConfigT", bound=LdAiConfig)
Variables = Mapping[str, object] | None
_Parse = Callable[[str, Payload, Send, Render], _AiConfigT]

_NOTHING_SERVED: Final = (
    "LaunchDarkly serves nothing for %s %r, %s: is the key right, and is targeting on in this environment?"
)
_NOT_INITIALIZED: Final = (
    "%r is asked for, or counted, while the LaunchDarkly client has not been initialised: AI Configs are the "
    "defaults, and metrics may be lost. Check the SDK key and the network; an AsyncLDClient needs "
    "`await client.start()` first"
)
_OFFLINE: Final = (
    "%r is asked for, or counted, while the LaunchDarkly client is offline: AI Configs are the defaults, and no "
    "metric is sent. Without `offline=True` in its configuration it asks LaunchDarkly"
)
_CLOSED: Final = (
    "%r is counted while the LaunchDarkly client is closed, or has given up on a wrong SDK key: its metrics are "
    "lost. Close the client after the last run; `postfork()` opens an LDClient again"
)
_NO_META: Final = (
    "AI Config %r has no `_ldMeta`, and so is disabled: is the key that of an AI Config, and not of another flag?"
)
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
    """An evaluation prepared up to the question to LaunchDarkly, and how to read the answer.

    Args:
        key: Key of the AI Config, or of the agent graph.
        context: Whom it is for.
        fallback: What LaunchDarkly's client returns where nothing is served.
        read: Reads the answer.
        what: What the key is of.
        has_default: Whether the caller gave a default.
    """

    key: str
    context: Context
    fallback: Payload
    read: Callable[[object], ConfigT]
    what: str = "AI Config"
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class GraphEvaluation:
    """An agent graph as its own flag describes it, and the questions for its nodes' configs."""

    graph: LdAiAgentGraph
    nodes: tuple[Evaluation[LdAiAgentConfig], ...]


class _Environment(Hook):
    """The environment that events come from, which LaunchDarkly's client tells its hooks.

    Attributes:
        id: LaunchDarkly's id of the environment, "" until it is known.
    """

    def __init__(self, environment_id: str) -> None:
        self.id = environment_id

    @property
    def metadata(self) -> Metadata:
        """What LaunchDarkly's client calls the hook in its log."""
        return Metadata(name="langchain-ldai")

    def before_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object]
    ) -> dict[str, object]:
        """Note the id, which releases of the SDK before 9.20 do not tell."""
        self.id = getattr(series_context, "environment_id", None) or self.id
        return data

    def after_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object], detail: EvaluationDetail
    ) -> dict[str, object]:
        """Note nothing."""
        return data


_environments: Final[WeakKeyDictionary[object, _Environment]] = WeakKeyDictionary()
"""One hook for each of LaunchDarkly's clients, however many of ours are made over it: it can forget none."""


def _environment_of(client: object, environment_id: str | None) -> _Environment:
    known = environment_id or os.environ.get("LD_ENVIRONMENT_ID")
    environment = _Environment(known or "")
    add_hook = getattr(client, "add_hook", None)
    if known or add_hook is None:
        return environment
    try:
        shared = _environments.setdefault(client, environment)
    except TypeError:  # a stand-in that nothing can be noted for
        shared = environment
    if shared is environment:
        add_hook(environment)
    return shared


class ContextSend:
    """Delivers the events of one context, and looks each time whether the client still takes them.

    Args:
        context: Whom the events are counted for.
        track: Takes them.
        environment: Which LaunchDarkly environment the events come from.
        look: Says once where the client takes none; `None` for a client that cannot tell.
        notices: What the client has logged.
    """

    __slots__ = ("_context", "_environment", "_look", "_track", "notices")

    def __init__(
        self,
        context: Context,
        track: Callable[..., None],
        environment: _Environment,
        look: Callable[[Mapping[str, object]], None] | None,
        notices: Notices,
    ) -> None:
        self._context = context
        self._track = track
        self._environment = environment
        self._look = look
        self.notices = notices

    def __call__(self, event_name: str, data: Mapping[str, object], metric_value: float) -> None:
        """Deliver one event."""
        if self._look is not None:
            self._look(data)
        if self._environment.id:
            data = {**data, events.ENVIRONMENT_ID: self._environment.id}
        self._track(event_name, self._context, data, metric_value)


class AiClient:
    """What both clients do around the evaluation of a flag.

    Args:
        client: The LaunchDarkly client, which is asked how it is.
        sink: Takes the events.
        claims: Where slots are claimed.
        environment_id: See `LdAiClient`.
    """

    def __init__(self, client: object, sink: EventSink, claims: Claims | None, environment_id: str | None) -> None:
        if not isinstance(environment_id, str | None):
            raise TypeError(f"environment_id is a str, not {type(environment_id).__name__}")
        self._client: Any = client
        self._sink = sink
        self._claims = claims
        self._all_claims = WeakSet([claims] if claims else [])  # with those of the clients that `with_ledger` gave
        self._environment = _environment_of(client, environment_id)
        self._notices = Notices()
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

    def with_ledger(
        self, ledger: Ledger | None, *, on_error: OnLedgerError = "drop", timeout: float = 60.0
    ) -> Self:
        """Return a client like this one whose trackers claim their slots in another ledger, or in none."""
        other = copy(self)
        other._claims = claims = claims_in(ledger, on_error, timeout)
        if claims is not None:
            self._all_claims.add(claims)
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
        look = self._look if hasattr(self._client, "data_source_status_provider") else None
        send = ContextSend(context, self._sink.track, self._environment, look, self._notices)
        return ClaimingSend(send, self._claims) if self._claims else send

    def _look(self, data: Mapping[str, object]) -> None:
        """Say once that the LaunchDarkly client is closed, or has not been initialised, where an event is sent."""
        key = data.get(events.CONFIG_KEY) or data.get(events.GRAPH_KEY)
        state = getattr(getattr(self._client.data_source_status_provider, "status", None), "state", None)
        if state is DataSourceState.OFF:
            self._tell("closed", logging.WARNING, _CLOSED, key)
        elif state is DataSourceState.INITIALIZING:
            asked = getattr(self._client, "is_initialized", None)
            if self._is_offline():
                self._tell("offline", logging.INFO, _OFFLINE, key)
            elif asked is None or is_async(asked) or not asked():
                self._tell("not initialized", logging.WARNING, _NOT_INITIALIZED, key)

    def _is_offline(self) -> bool:
        asked = getattr(self._client, "is_offline", None)
        return asked is not None and asked() is True

    def _nothing_served(self, call: Evaluation[ConfigT], is_initialized: object) -> None:
        """Say once for each key that LaunchDarkly serves nothing for it, and why that may be."""
        level = logging.INFO if call.has_default else logging.WARNING
        instead = "the default is used" if call.has_default else "it is disabled, as no default was given"
        if self._is_offline():
            self._tell("offline", level, _OFFLINE, call.key)
        elif is_initialized is False:
            self._tell("not initialized", logging.WARNING, _NOT_INITIALIZED, call.key)
        elif not call.context.valid:
            message = "%s %r is asked for a context that is invalid (%s), %s"
            self._tell(("context", call.key), level, message, call.what, call.key, call.context.error, instead)
        else:
            # A run of it is not told of once more by a handler, as one of a disabled AI Config.
            kind = ("default" if call.has_default else "disabled", call.key)
            self._tell(kind, level, _NOTHING_SERVED, call.what, call.key, instead)

    def _left(self, is_done: bool) -> None:
        """Say, where that is so, that the end of the client's block has not waited for everything."""
        if not is_done:
            _log.warning(
                "Claims still wait for the ledger at the end of the client's block: their metrics are lost if the "
                "LaunchDarkly client is closed before they are granted. `close(timeout)` waits for longer"
            )

    def _tell(self, kind: Hashable, level: int, message: str, *args: object) -> None:
        self._notices.once(_log, level, kind, message, *args)

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

        return Evaluation(key, context, {}, read, "agent graph")

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
        parse: _Parse[_AiConfigT],
        render: Render,
    ) -> Evaluation[_AiConfigT]:
        check_key(key)
        default = kind() if given is None else given
        if not isinstance(default, kind):
            raise TypeError(f"the default of {key!r} is a {kind.__name__}, not {type(default).__name__}")
        fallback, send = default.to_payload(), self._sender(context)

        def read(value: object) -> _AiConfigT:
            if isinstance(value, Mapping) and "_ldMeta" not in value:
                self._tell(("no _ldMeta", key), logging.WARNING, _NO_META, key)
            payload = usable(value, kind.mode, key, fallback)
            config = parse(key, payload, send, render)
            return replace(config, raw=FrozenDict()) if payload is fallback else config

        return Evaluation(key, context, fallback, read, has_default=given is not None)


def judge_renderer(key: str, context: Context, variables: Variables) -> Render:
    """Return a function that fills in a judge's texts but for its reserved placeholders (spec 2, rule 16)."""
    for name in JUDGE_PLACEHOLDERS.keys() & (variables or {}).keys():
        _log.warning("AI Config %r: the variable %r is reserved in a judge's messages; ignored", key, name)
    return renderer(key, context, {**(variables or {}), **JUDGE_PLACEHOLDERS})
