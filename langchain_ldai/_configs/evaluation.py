"""What both clients do before and after they ask LaunchDarkly for a flag. One of them awaits the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from reprlib import repr as short_repr
from typing import Final, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from ldclient import Context

from langchain_ldai._base.forks import OfOneProcess
from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai._base.options import given_as
from langchain_ldai._configs.client_options import LEDGER_TIMEOUT, ClientOptions
from langchain_ldai._configs.diagnosis import Diagnosis
from langchain_ldai._configs.graph import LdAiAgentGraph, parse_graph
from langchain_ldai._configs.payload import (
    JUDGE_PLACEHOLDERS,
    ConfigDefault,
    ConfigT,
    LdAiAgentConfigDefault,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfigDefault,
    Payload,
    PayloadReader,
    Render,
    payload_or_fallback,
)
from langchain_ldai._configs.sending import environment_of
from langchain_ldai._configs.templates import as_written, check_variables, renderer
from langchain_ldai._configs.types import (
    FrozenDict,
    LdAiAgentConfig,
    LdAiCompletionConfig,
    LdAiJudgeConfig,
)
from langchain_ldai._tracking.graph_tracker import LdAiGraphTracker
from langchain_ldai._tracking.sending import ClientSender, EventSender, SendAll
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._wire import events
from langchain_ldai._wire.ids import check_key
from langchain_ldai._wire.tokens import RunIdentity, decode, decode_graph
from langchain_ldai._wire.version import __version__
from langchain_ldai.ledgers._protocol import Claims, Ledger, OnLedgerError

AnswerT = TypeVar("AnswerT")
Variables = Mapping[str, object] | None
Track = Callable[[str, Context, object, float], object]

_NOT_NAMED: Final = "LaunchDarkly's client could not take the event that names this package"
_NOT_COUNTED: Final = "LaunchDarkly's client could not take the event that counts who asks for an AI Config"

_SDK_CONTEXT: Final = Context.builder("ld-internal-tracking").kind("ld_ai").anonymous(True).build()


@dataclass(frozen=True, slots=True)
class ConfigKind(Generic[ConfigT]):
    """What differs between the kinds of AI Configs, and between a config and its template.

    Args:
        default: The class of its defaults.
        read: Reads a payload of this kind.
        usage_event: The event that counts how often this kind is asked for.
        placeholders: The variables that stay in its texts, by name (spec section 2, rule 16).
        is_template: Whether the tags of its texts stay as they are.
    """

    default: type[ConfigDefault]
    read: Callable[[PayloadReader, Payload], ConfigT]
    usage_event: str
    placeholders: Mapping[str, str] = field(default_factory=dict)
    is_template: bool = False

    def template(self, usage_event: str) -> ConfigKind[ConfigT]:
        """Return the template of this kind: its tags stay as they are."""
        return replace(self, usage_event=usage_event, is_template=True)


COMPLETION: Final[ConfigKind[LdAiCompletionConfig]] = ConfigKind(
    LdAiCompletionConfigDefault, PayloadReader.completion, events.USAGE_COMPLETION_CONFIG
)
COMPLETION_TEMPLATE: Final = COMPLETION.template(events.USAGE_COMPLETION_CONFIG_TEMPLATE)
AGENT: Final[ConfigKind[LdAiAgentConfig]] = ConfigKind(
    LdAiAgentConfigDefault, PayloadReader.agent, events.USAGE_AGENT_CONFIG
)
AGENT_TEMPLATE: Final = AGENT.template(events.USAGE_AGENT_CONFIG_TEMPLATE)
JUDGE: Final[ConfigKind[LdAiJudgeConfig]] = ConfigKind(
    LdAiJudgeConfigDefault, PayloadReader.judge, events.USAGE_JUDGE_CONFIG, JUDGE_PLACEHOLDERS
)
JUDGE_TEMPLATE: Final = JUDGE.template(events.USAGE_JUDGE_CONFIG_TEMPLATE)


@dataclass(frozen=True, slots=True)
class LdAiAgentConfigRequest:
    """One agent asked for with `agent_configs`.

    Args:
        key: Key of the AI Config.
        default: What to use where LaunchDarkly serves no agent config; without one, a disabled config.
        variables: Values for the mustache tags in the agent's texts.

    Example:
        >>> requests = ["triage", LdAiAgentConfigRequest("refunds", variables={"limit": 50})]
        >>> list(ai.agent_configs(requests, context))
        ['triage', 'refunds']
    """

    key: str
    default: LdAiAgentConfigDefault | None = None
    variables: Mapping[str, object] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Evaluation(Generic[AnswerT]):
    """What to ask LaunchDarkly, and how to read the answer.

    Args:
        key: Key of the AI Config, or of the agent graph.
        context: Whom it is for.
        fallback: What LaunchDarkly's client returns if it serves nothing.
        read: Reads the answer.
        what: What has the key.
        has_default: Whether the caller gave a default.
    """

    key: str
    context: Context
    fallback: Payload
    read: Callable[[object], AnswerT]
    what: str = "AI Config"
    has_default: bool = False


GraphAndNodes = tuple[LdAiAgentGraph, list[Evaluation[LdAiAgentConfig]]]
"""An agent graph as its own flag describes it, and the evaluations of its nodes' configs."""


class AiClient(OfOneProcess):
    """What both clients do around the evaluation of a flag.

    Args:
        client: The LaunchDarkly client.
        track: Takes an event.
        send_all: Takes the trackers' events that are due together, if there is no delivery.
        options: What the caller gave.
    """

    def __init__(self, client: object, track: Track, send_all: SendAll, options: ClientOptions) -> None:
        options.check(client)
        self._client_name = type(client).__name__
        self._track = track
        self._guard = Guard()
        self._options = options
        self._diagnosis = Diagnosis(client)
        self._client_sender = ClientSender(
            send_all=send_all if options.delivery is None else options.delivery.send_all,
            diagnose=self._diagnosis.of_event,
            environment=environment_of(client, options.environment_id).fields,
            notices=self._diagnosis.notices,
        )
        # Those of this client and of all that `with_ledger` has made of it.
        self._all_claims: WeakKeyDictionary[Claims, None] = WeakKeyDictionary()
        self._claims = self._claims_of(options)
        info = {"aiSdkName": "langchain-ldai", "aiSdkVersion": __version__, "aiSdkLanguage": "python"}
        self._guard.call(_NOT_NAMED, Ids(), track, events.SDK_INFO, _SDK_CONTEXT, info, 1)

    def __repr__(self) -> str:
        ledger = f", ledger={type(self.ledger).__name__}" if self.ledger is not None else ""
        return f"{type(self).__name__}({self._client_name}{ledger})"

    @property
    def ledger(self) -> Ledger | None:
        """The ledger in which this client's trackers claim their slots, `None` without one."""
        return self._claims.ledger if self._claims else None

    def with_ledger(
        self, ledger: Ledger | None, *, on_error: OnLedgerError = "drop", timeout: float = LEDGER_TIMEOUT
    ) -> Self:
        """Return a client like this one whose trackers claim their slots in another ledger, or in none.

        Args:
            ledger: Where trackers claim their slots before they send; `None` for none.
            on_error: What becomes of a metric whose claim could not be made in time: "drop", or "send".
            timeout: Seconds for which a claim is attempted while the ledger cannot be reached. A client with a
                delivery uses neither: there a claim waits until the ledger has answered.

        Raises:
            TypeError: If the ledger is no ledger, or an option is of another type.
            ValueError: If an option has a value it cannot have.

        Example:
            >>> from langchain_ldai.ledgers import MemoryLedger
            >>> ai.with_ledger(MemoryLedger()).ledger
            MemoryLedger(100000)
        """
        options = replace(self._options, ledger=ledger, on_ledger_error=on_error, ledger_timeout=timeout)
        options.check_claiming()
        other = object.__new__(type(self))  # a copy would be this client itself
        vars(other).update(vars(self))
        other._claims = self._claims_of(options)
        return other

    def _claims_of(self, options: ClientOptions) -> Claims | None:
        claims = options.claims(self._client_sender.send)
        if claims is not None:
            self._all_claims[claims] = None
        return claims

    def create_tracker(self, token: str, context: Context) -> LdAiConfigTracker:
        """Return a tracker that adds to a run which another process began.

        Args:
            token: The run's resumption token. It is not signed: take it only from whom you trust.
            context: Whom the added metrics are counted for, as a rule the context of the run.

        Raises:
            TypeError: If the token is not a string.
            InvalidResumptionTokenError: If it cannot be read.

        Example:
            >>> token = ai.completion_config("support-bot", context).create_tracker().resumption_token
            >>> ai.create_tracker(token, context).track_feedback(Feedback.POSITIVE)
        """
        return self._tracker_of(decode(token), context)

    def _tracker_of(self, run: RunIdentity, context: Context) -> LdAiConfigTracker:
        return LdAiConfigTracker(run, self._sender(context))

    def create_graph_tracker(self, token: str, context: Context) -> LdAiGraphTracker:
        """Return a tracker that adds to a run of an agent graph which another process began.

        Args:
            token: The graph run's resumption token. It is not signed: take it only from whom you trust.
            context: Whom the added metrics are counted for, as a rule the context of the run.

        Raises:
            TypeError: If the token is not a string.
            InvalidResumptionTokenError: If it cannot be read, or is of a run of an AI Config.

        Example:
            >>> token = ai.agent_graph("desk", context).create_tracker().resumption_token
            >>> ai.create_graph_tracker(token, context).track_path(["triage", "refunds"])
        """
        return LdAiGraphTracker(decode_graph(token), self._sender(context))

    def _tell_if_left_early(self, is_done: bool) -> None:
        if not is_done and self._options.delivery is None:  # a delivery keeps the claims for the next process
            self._diagnosis.of_block_left_early()

    def _sender(self, context: Context) -> EventSender:
        _check_context(context)
        self._diagnosis.of_context(context)
        return EventSender(context, self._client_sender, self._claims)

    def _nothing_served(self, call: Evaluation[AnswerT], is_initialized: object) -> None:
        self._diagnosis.of_nothing_served(
            call.what, call.key, call.context, has_default=call.has_default, is_initialized=is_initialized
        )

    def _counted_evaluation(
        self,
        kind: ConfigKind[ConfigT],
        key: str,
        context: Context,
        default: ConfigDefault | None,
        variables: Variables = None,
    ) -> Evaluation[ConfigT]:
        """Prepare an evaluation, and count that it is asked for."""
        call = self._evaluation(kind, key, context, default=default, variables=variables)
        self._count_use(kind.usage_event, context, key, 1)
        return call

    def _count_use(self, event: str, context: Context, data: object, value: float) -> None:
        """Count that something is asked for. If the client raises, the caller gets the answer all the same."""
        self._guard.call(_NOT_COUNTED, Ids(), self._track, event, context, data, value)

    def _agent_evaluations(
        self, requests: Iterable[str | LdAiAgentConfigRequest], context: Context
    ) -> list[Evaluation[LdAiAgentConfig]]:
        wanted = _agent_requests(requests)
        calls = [
            self._evaluation(AGENT, item.key, context, default=item.default, variables=item.variables)
            for item in wanted
        ]
        self._count_use(events.USAGE_AGENT_CONFIGS, context, len(wanted), len(wanted))
        return calls

    def _graph_evaluation(self, key: str, context: Context, variables: Variables) -> Evaluation[GraphAndNodes]:
        check_key(key)
        check_variables(variables)
        sender = self._sender(context)
        self._count_use(events.USAGE_AGENT_GRAPH, context, key, 1)

        def node(node_key: str) -> Evaluation[LdAiAgentConfig]:
            return self._evaluation(AGENT, node_key, context, variables=variables, graph_key=key)

        def read(value: object) -> GraphAndNodes:
            graph = parse_graph(key, value, sender)
            return graph, list(map(node, graph.reachable() if graph.enabled else ()))

        return Evaluation(key, context, {}, read, "agent graph")

    def _attached_judge(self, key: str, context: Context, graph_key: str) -> Evaluation[LdAiJudgeConfig | None]:
        """Prepare the evaluation of a judge that is attached to an AI Config. Its tags stay as they are.

        The judge may be of any mode. The answer is `None` if LaunchDarkly serves no object. No usage is counted.
        """
        check_key(key)
        reader = PayloadReader(key, self._sender(context), as_written, graph_key)

        def read(value: object) -> LdAiJudgeConfig | None:
            return reader.judge(value) if isinstance(value, Mapping) else None

        return Evaluation(key, context, {}, read)

    def _judge_render(self, key: str, context: Context, variables: Variables) -> Render:
        """Return a function that fills in a judge's tags and says which variables are missing."""
        return renderer(key, context, variables, self._diagnosis.of_missing_variable, {})

    def _evaluation(
        self,
        kind: ConfigKind[ConfigT],
        key: str,
        context: Context,
        *,
        default: ConfigDefault | None = None,
        variables: Variables,
        graph_key: str = "",
    ) -> Evaluation[ConfigT]:
        check_key(key)
        sender = self._sender(context)
        render: Render = as_written
        if not kind.is_template:
            render = renderer(key, context, variables, self._diagnosis.of_missing_variable, kind.placeholders)
        used = kind.default() if default is None else default
        if not isinstance(used, kind.default):
            remedy = "; variables go in variables={...}" if isinstance(used, Mapping) else ""
            raise TypeError(f"the default of {key!r} is a {kind.default.__name__}, not {given_as(used)}{remedy}")
        fallback = used.to_payload()
        reader = PayloadReader(key, sender, render, graph_key)

        def read(value: object) -> ConfigT:
            if isinstance(value, Mapping) and "_ldMeta" not in value:
                self._diagnosis.of_missing_meta(key)
            payload = payload_or_fallback(value, kind.default.mode, key, fallback)
            config = kind.read(reader, payload)
            return replace(config, raw=FrozenDict()) if payload is fallback else config

        return Evaluation(key, context, fallback, read, has_default=default is not None)


def _check_context(context: Context) -> None:
    """Raise `TypeError` unless a context is LaunchDarkly's."""
    if isinstance(context, Context):
        return
    if hasattr(context, "build"):
        remedy = "call its build()"
    else:
        remedy = "use Context.from_dict(...)" if isinstance(context, dict) else "use Context.create(...)"
    raise TypeError(f"a context is an ldclient.Context, not {type(context).__name__}: {remedy}")


def _agent_requests(requests: Iterable[str | LdAiAgentConfigRequest]) -> list[LdAiAgentConfigRequest]:
    expected = "agent_configs takes a list of keys or requests"
    if isinstance(requests, str):
        raise TypeError(f"{expected}, not one text: [{short_repr(requests)}]")
    if isinstance(requests, Mapping) or not isinstance(requests, Iterable):
        raise TypeError(
            f"{expected}, not {type(requests).__name__}; LdAiAgentConfigRequest has a default and variables"
        )
    wanted = [LdAiAgentConfigRequest(item) if isinstance(item, str) else item for item in requests]
    for item in wanted:
        if not all(hasattr(item, name) for name in ("key", "default", "variables")):
            raise TypeError(f"{expected}, which {type(item).__name__} is not: use LdAiAgentConfigRequest(key)")
    return wanted
