"""AI Configs: what LaunchDarkly serves for a key and a context, frozen; pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from reprlib import repr as short_repr
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, get_args

from langchain_ldai._base.forks import OfOneProcess
from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._wire.ids import checked_run_id, new_run_id
from langchain_ldai._wire.tokens import RunIdentity, decode
from langchain_ldai.errors import InvalidResumptionTokenError

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_K = TypeVar("_K")
_V = TypeVar("_V")


def _read_only(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError("an AI Config is read-only; change a copy.deepcopy() of this value instead")


class FrozenDict(dict[_K, _V]):
    """A dict that raises `TypeError` on every write; `copy.deepcopy` and pickle give a plain dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _read_only
    clear = pop = popitem = setdefault = update = _read_only

    def __reduce__(self) -> tuple[type[dict[_K, _V]], tuple[dict[_K, _V]]]:
        return dict, (dict(self),)


class FrozenList(list[_V]):
    """A list that raises `TypeError` on every write; `copy.deepcopy` and pickle give a plain list."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _read_only
    append = clear = extend = insert = pop = remove = reverse = sort = _read_only

    def __reduce__(self) -> tuple[type[list[_V]], tuple[list[_V]]]:
        return list, (list(self),)


def freeze_object(value: object) -> FrozenDict[str, object]:
    """Return a read-only copy of a JSON object, frozen at every depth.

    Anything else gives an empty object, and so does an object that nests deeper than Python can go.
    """
    try:
        return _freeze_object(value) if isinstance(value, Mapping) else FrozenDict()
    except RecursionError:
        return FrozenDict()


def _freeze_object(value: Mapping[object, object]) -> FrozenDict[str, object]:
    return FrozenDict({str(key): _freeze(item) for key, item in value.items()})


def _freeze(value: object) -> object:
    if isinstance(value, Mapping):
        return _freeze_object(value)
    if isinstance(value, (list, tuple)):
        return FrozenList(_freeze(item) for item in value)
    return value


Role = Literal["system", "user", "assistant"]
_ROLES: Final = get_args(Role)

_TEXT: Final = (str, "a str")
_TEXT_OR_NONE: Final = (str | None, "a str")
_OBJECT: Final = (Mapping | None, "a dictionary")


def _check(value: object, **parts: tuple[type | UnionType, str]) -> None:
    """Raise `TypeError` if a part of a value is of another type: an outage would be the first to show it."""
    for name, (kind, expected) in parts.items():
        part: object = getattr(value, name)
        if not isinstance(part, kind):
            raise TypeError(f"{type(value).__name__}.{name} is {expected}, not {short_repr(part)}")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt.

    Args:
        role: Who speaks.
        content: The text; of a message with blocks, that of its text blocks.
        blocks: The text and images of the message as LaunchDarkly serves them, where it is more than one text;
            read-only at every depth. A model is given these in place of the content.

    Raises:
        TypeError: If the content is no text, or the blocks are no list of dictionaries.
        ValueError: If the role is another one: LangChain's "human" is "user" here, and its "ai" is "assistant".

    Example:
        >>> Message("user", "How do I switch it off?")
        Message(role='user', content='How do I switch it off?', blocks=())
    """

    role: Role
    content: str
    blocks: tuple[Mapping[str, object], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f'a Message\'s role is "system", "user" or "assistant", not {short_repr(self.role)}')
        if not isinstance(self.content, str):
            raise TypeError(f"a Message's content is a str, not {type(self.content).__name__}")
        if not isinstance(self.blocks, Sequence):
            raise TypeError(f"a Message's blocks are a list of dictionaries, not {type(self.blocks).__name__}")
        for block in self.blocks:
            if not isinstance(block, Mapping):
                raise TypeError(f"a block of a Message is a dictionary, not {type(block).__name__}")
        object.__setattr__(self, "blocks", tuple(map(freeze_object, self.blocks)))


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model to call, and how.

    Args:
        name: Name of the model, "" when the AI Config names none.
        parameters: The provider's parameters, such as `temperature`; read-only at every depth.
        custom: Your team's own values; read-only at every depth.
        region: Where the model is served, as in `eu`; "" when the AI Config names no region.

    Raises:
        TypeError: If a part is of another type.

    Example:
        >>> ModelConfig("gpt-4.1-mini", {"temperature": 0.2}).parameters["temperature"]
        0.2
    """

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict, hash=False)
    custom: Mapping[str, object] = field(default_factory=dict, hash=False)
    region: str = ""

    def __post_init__(self) -> None:
        _check(self, name=_TEXT, parameters=_OBJECT, custom=_OBJECT, region=_TEXT)
        object.__setattr__(self, "parameters", freeze_object(self.parameters))
        object.__setattr__(self, "custom", freeze_object(self.custom))


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """Who serves the model.

    Args:
        name: Name of the provider, "" when the AI Config names none.

    Raises:
        TypeError: If it is no text.

    Example:
        >>> ProviderConfig("OpenAI").name
        'OpenAI'
    """

    name: str

    def __post_init__(self) -> None:
        _check(self, name=_TEXT)


@dataclass(frozen=True, slots=True)
class ToolConfig:
    """A tool that an AI Config offers to the model.

    Args:
        name: Name of the tool.
        description: What it is for.
        type: Kind of tool, such as "function".
        parameters: JSON schema of its arguments; read-only at every depth.
        custom_parameters: Your team's own values; read-only at every depth.

    Raises:
        TypeError: If a part is of another type.

    Example:
        >>> page = {"type": "object", "properties": {"page": {"type": "integer"}}}
        >>> ToolConfig("look_up", "Reads a page of the manual.", "function", page).parameters["type"]
        'object'
    """

    name: str
    description: str | None = None
    type: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict, hash=False)
    custom_parameters: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check(self, name=_TEXT, description=_TEXT_OR_NONE, type=_TEXT_OR_NONE)
        _check(self, parameters=_OBJECT, custom_parameters=_OBJECT)
        object.__setattr__(self, "parameters", freeze_object(self.parameters))
        object.__setattr__(self, "custom_parameters", freeze_object(self.custom_parameters))


@dataclass(frozen=True, slots=True)
class JudgeAttachment:
    """A judge that is to score runs of an AI Config.

    Args:
        key: Key of the judge's AI Config.
        sampling_rate: Share of runs to score, 0.0 to 1.0.

    Raises:
        TypeError: If the key is no text, or the share no number.

    Example:
        >>> JudgeAttachment("relevance", sampling_rate=0.1)
        JudgeAttachment(key='relevance', sampling_rate=0.1)
    """

    key: str
    sampling_rate: float

    def __post_init__(self) -> None:
        _check(self, key=_TEXT, sampling_rate=(Real, "a number"))


class Origin(OfOneProcess):
    """Where something that is served comes from, for its trackers.

    It is a field of what is served, and no data itself: so LangGraph refuses to keep an AI Config in a state, from
    which it would come back without its client.

    Args:
        sender: Sends the trackers' events.
        tracked_model: What the events say of the model.
        graph_key: Key of the agent graph that an AI Config is a node of, "" outside one.
    """

    def __init__(
        self, sender: EventSender, tracked_model: Mapping[str, object] = FrozenDict(), graph_key: str = ""
    ) -> None:
        self.sender = sender
        self.tracked_model = tracked_model
        self.graph_key = graph_key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and vars(self) == vars(other)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an AI Config or agent graph holds the LaunchDarkly client of its process and cannot be pickled; "
            "ask the other process's client for it by its key"
        )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Served:
    """What a client has made of a flag.

    Two are equal only if they also count for one context, by one client. So a cache by them keeps users apart.
    """

    key: str
    enabled: bool
    variation_key: str
    version: int
    _origin: Origin

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((self.key, self.variation_key, self.version))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LdAiConfig(Served):
    """What every AI Config has. A client makes it; it is read-only at every depth.

    Args:
        key: Key of the AI Config.
        enabled: Whether LaunchDarkly wants it used; trackers work either way.
        variation_key: Key of the variation served, "" when unknown.
        version: Version of the variation.
        messages: The messages, as the kind of the AI Config says.
        model: Which model to call.
        provider: Who serves the model.
        tools: Tools by key.
        judges: Judges that are to score runs.
        output_format: JSON schema that the answer is to follow, `None` when there is none.
        skills: Key and version of each skill that the AI Config names.
        raw: The whole variation as LaunchDarkly serves it, its templates not filled in; empty where the default is
            used.
    """

    messages: tuple[Message, ...]
    model: ModelConfig
    provider: ProviderConfig
    tools: Mapping[str, ToolConfig]
    judges: tuple[JudgeAttachment, ...]
    output_format: Mapping[str, object] | None
    skills: tuple[tuple[str, int], ...]
    raw: Mapping[str, Any]  # JSON, in which a program may look for what is no field here

    def __repr__(self) -> str:  # it may come into a log, and shows no prompt
        return (
            f"{type(self).__name__}(key={self.key!r}, enabled={self.enabled}, "
            f"variation_key={self.variation_key!r}, version={self.version}, "
            f"model={self.model.name!r}, provider={self.provider.name!r})"
        )

    def create_tracker(self, *, run_id: str | None = None) -> LdAiConfigTracker:
        """Return the tracker of a new run, also when the config is disabled.

        Args:
            run_id: LaunchDarkly's id of the run, where it has one already; otherwise a new UUIDv4. A ledger may
                not hold an id of more than 256 characters, or one with NUL or half a surrogate pair: such an id is
                replaced by a UUID, always the same for the same id.

        Raises:
            TypeError: If the id is not a string.
            ValueError: If the id is empty.

        Example:
            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> tracker.track_duration(250)
            >>> client.metrics(tracker.run_id)
            {'$ld:ai:duration:total': [250]}
        """
        known = new_run_id() if run_id is None else checked_run_id(run_id)
        identity = RunIdentity(known, self.key, self.variation_key, self.version, self._origin.graph_key)
        return LdAiConfigTracker(identity, self._origin.sender, self._origin.tracked_model)

    def resume_tracker(self, token: str) -> LdAiConfigTracker:
        """Return a tracker that adds to a run of this AI Config, in this config's context.

        Args:
            token: The run's resumption token. It is not signed: take it only from whom you trust.

        Raises:
            TypeError: If the token is not a string.
            InvalidResumptionTokenError: If it cannot be read, or names another AI Config.

        Example:
            >>> config = ai.completion_config("support-bot", context)
            >>> token = config.create_tracker(run_id="run-1").resumption_token
            >>> config.resume_tracker(token).run_id
            'run-1'
        """
        identity = decode(token)
        if identity.config_key != self.key:
            raise InvalidResumptionTokenError(
                f"the resumption token is of another AI Config than {self.key!r}; use client.create_tracker()"
            )
        return LdAiConfigTracker(identity, self._origin.sender)

    def to_messages(self) -> list[BaseMessage]:
        """Return the messages as LangChain's, ready for a model or a prompt template.

        Example:
            >>> from langchain_core.prompts import ChatPromptTemplate
            >>> config = ai.completion_config("support-bot", context, variables={"product": "the kettle"})
            >>> prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}")])
            >>> prompt.invoke({"question": "How do I switch it off?"}).messages[1].content
            'How do I switch it off?'
        """
        return _to_langchain(self.messages)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LdAiCompletionConfig(LdAiConfig):
    """An AI Config of messages. A client makes it; it is read-only at every depth.

    Args:
        messages: The prompt, its tags filled in.
        key: Key of the AI Config.
        enabled: Whether LaunchDarkly wants it used; trackers work either way.
        variation_key: Key of the variation served, "" when unknown.
        version: Version of the variation.
        model: Which model to call.
        provider: Who serves the model.
        tools: Tools by key.
        judges: Judges that are to score runs.
        output_format: JSON schema that the answer is to follow, `None` when there is none.
        skills: Key and version of each skill that the AI Config names.
        raw: The whole variation as LaunchDarkly serves it, with its tags as they are; empty for a default.

    Example:
        >>> config = ai.completion_config("support-bot", context)
        >>> config.enabled, config.variation_key, config.version, config.model.name, config.provider.name
        (True, 'first', 3, 'gpt-4.1-mini', 'OpenAI')
    """


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LdAiAgentConfig(LdAiConfig):
    """An AI Config of an agent; it also has what `LdAiCompletionConfig` has.

    Args:
        instructions: What the agent is told, `None` where it has no instructions.
        messages: What follows the instructions; no system message is among them.

    Example:
        >>> ai.agent_config("triage", context).instructions
        'Find out who can help.'
    """

    instructions: str | None

    def to_messages(self) -> list[BaseMessage]:
        """Return the instructions, where there are any, as a system message, and the messages after it.

        Example:
            >>> ai.agent_config("triage", context).to_messages()[0].content
            'Find out who can help.'
        """
        first = [Message("system", self.instructions)] if self.instructions else []
        return _to_langchain([*first, *self.messages])


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LdAiJudgeConfig(LdAiConfig):
    """An AI Config of a judge; it also has what `LdAiCompletionConfig` has.

    Args:
        messages: What the judge is told; the two placeholders that are a judge's own are still in them.
        evaluation_metric_key: Key of the metric that takes the score, `None` where none is named.

    Example:
        >>> ai.judge_config("relevance", context).evaluation_metric_key
        'relevance-score'
    """

    evaluation_metric_key: str | None


def _to_langchain(messages: Sequence[Message]) -> list[BaseMessage]:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage  # late, as it takes a while

    classes = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [
        classes[message.role](content=[_standard_block(block) for block in message.blocks] or message.content)
        for message in messages
    ]


def _standard_block(block: Mapping[str, object]) -> dict[str, object]:
    """Return a block in LangChain's form for it; a block of an unknown kind stays as it is."""
    plain = copy.deepcopy(dict(block))
    match plain:
        case {"type": "image", "source": {"type": "base64", "data": str(data), **about}}:
            image = {"base64": data}
        case {"type": "image", "source": {"type": "url", "url": str(url), **about}}:
            image = {"url": url}
        case _:
            return plain
    del plain["source"]
    mime_type = about.get("media_type")
    return {**plain, **image, **({"mime_type": mime_type} if isinstance(mime_type, str) else {})}
