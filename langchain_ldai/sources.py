"""Where a run's tracker comes from: an AI Config, ours or the official package's, or a function that gives one."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable

from langchain_ldai.adapters import in_our_form
from langchain_ldai.boundary import Boundary, Ids
from langchain_ldai.checks import check_function, check_instance, is_async
from langchain_ldai.errors import WrongResultError


@runtime_checkable
class AiConfig(Protocol):
    """An AI Config as a handler needs it: ours, or one of `launchdarkly-server-sdk-ai`."""

    @property
    def create_tracker(self) -> Callable[[], object]: ...


@runtime_checkable
class ResumableAiConfig(Protocol):
    """An AI Config, or agent graph, of ours: its runs can be continued, and be given an id."""

    def create_tracker(self, *, run_id: str | None = None) -> object: ...
    def resume_tracker(self, token: str) -> object: ...


class AgentGraph(Protocol):
    """What a handler asks of an agent graph, ours or one that wraps it."""

    @property
    def nodes(self) -> Mapping[str, AiConfig]: ...
    @property
    def edges(self) -> Iterable[Any]: ...


ConfigSource = AiConfig | Callable[[Mapping[str, Any]], AiConfig | None]
"""An AI Config, or a function from a run's metadata to the one of that run (`None`: do not track it)."""

_VENDORS: Final = re.compile(r"^(?:[a-z][a-z0-9-]*\.(?=[a-z]))+")  # us.anthropic.
_EDITION: Final = re.compile(
    r"[-@:](?:(?P<date>\d{4}-\d\d-\d\d|\d\d-\d{4}|\d\d-\d\d|\d{8}|\d{6}|\d{4})"
    r"|(?P<version>v?\d+:\d+|v\d+(?:\.\d+)*|0\d\d)(?::\d+k)?|latest|free)(?=$|:)"
)
_DECIMAL_P: Final = re.compile(r"v(\d+)p(\d+)")  # v3p1
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]")

Choose = Callable[[Mapping[str, object] | None], AiConfig | None]


NO_TRACKER: Final = "create_tracker() of an AI Config failed, its runs are not counted"
"""What it means that an AI Config gives no tracker, for the log."""


def check_sources(config: object, nodes: object, needed_for: str, boundary: Boundary) -> None:
    """Raise where a handler's sources cannot give what it needs.

    Args:
        config: The AI Config, or function, of the runs; `None` where there are only nodes.
        nodes: Those of the nodes, by name.
        needed_for: The option that needs AI Configs of ours, "" where none is set.
        boundary: Catches what a `create_tracker` of another make raises, as it does in a run.

    Raises:
        TypeError: If one is neither an AI Config nor a function, is not ours although it should be, or has
            trackers that cannot record what a run records.
    """
    if not isinstance(nodes, Mapping) or not all(isinstance(name, str) for name in nodes):
        raise TypeError("nodes is a dictionary of AI Configs, or functions to them, by the names of nodes")
    if config is not None or not nodes:
        _check_source("config", config, needed_for)
        _check_tracker("config", config, boundary)
    for node, source in nodes.items():
        _check_source(f"nodes[{node!r}]", source, needed_for)
        _check_tracker(f"nodes[{node!r}]", source, boundary)


def _check_source(name: str, source: object, needed_for: str) -> None:
    expected = f"{name} is an AI Config (it has create_tracker()) or a function from metadata to one"
    if hasattr(source, "completion_config") and not isinstance(source, type):
        raise TypeError(f"{expected}, not the client: give what its completion_config() or agent_config() returns")
    if isinstance(source, type):
        raise TypeError(f"{expected}, not the class {source.__name__}")
    if isinstance(source, AiConfig):
        check_instance(name, source, "is an AI Config with create_tracker()", ("create_tracker",))
    elif is_async(source):
        raise TypeError(f"{expected}, not a coroutine function, which a callback cannot await")
    elif not callable(source):
        raise TypeError(f"{expected}, not {type(source).__name__}")
    else:
        check_function(name, source, "the metadata of the run")
    if needed_for and isinstance(source, AiConfig) and not isinstance(source, ResumableAiConfig):
        raise TypeError(
            f"{needed_for} needs an AI Config with resume_tracker(), such as those of LdAiClient; "
            f"{name} is {type(source).__name__}"
        )


def _check_tracker(name: str, source: object, boundary: Boundary) -> None:
    """Raise `TypeError` where an AI Config of another make gives trackers that cannot be used."""
    if not isinstance(source, AiConfig) or isinstance(source, ResumableAiConfig):
        return
    tracker = boundary.call(NO_TRACKER, Ids(), source.create_tracker)
    if tracker is None:
        return
    try:
        in_our_form(tracker)
    except WrongResultError as error:
        raise TypeError(f"{name} cannot be counted for: {error}") from None


def chooser(source: ConfigSource) -> Choose:
    """Return a function from a run's metadata, which it can read but not change, to the run's AI Config."""
    if isinstance(source, AiConfig):
        return lambda metadata: source

    def chosen(metadata: Mapping[str, object] | None) -> AiConfig | None:
        config = source(MappingProxyType(metadata or {}))
        if config is not None and not hasattr(config, "create_tracker"):
            raise WrongResultError(f"the function given for an AI Config returned a {described(config)}")
        return config

    return chosen


def served_model(config: AiConfig) -> str:
    """Return the name of the model that an AI Config serves, "" where it names none."""
    name = getattr(getattr(config, "model", None), "name", None)
    return name if isinstance(name, str) else ""


def tool_keys(config: AiConfig) -> Mapping[str, str]:
    """Return LaunchDarkly's keys of the tools that an AI Config serves, by their names; the first of each name."""
    keys: dict[str, str] = {}
    tools = getattr(config, "tools", None)
    for key, tool in tools.items() if isinstance(tools, Mapping) else ():
        name = tool.get("name") if isinstance(tool, Mapping) else getattr(tool, "name", None)
        if isinstance(name, str) and isinstance(key, str):
            keys.setdefault(name, key)
    return keys


@lru_cache(maxsize=256)
def same_model(served: str, called: str) -> bool:
    """Whether two names are of one model.

    A name may have a path, a region and vendors before it, a date and a version behind it. Where both have a date,
    or both a version, it must be the same. Punctuation says nothing: "gpt-35-turbo" is "openai/gpt-3.5-turbo".
    """
    (one, known), (other, told) = sorted((_parts_of(served), _parts_of(called)), key=lambda parts: len(parts[0]))
    return other[-len(one) :] == one and all(known[kind] == told[kind] for kind in known.keys() & told.keys())


def _parts_of(model: str) -> tuple[list[str], dict[str, str]]:
    """Return the parts between colons of a model's name, without what is around it, and its date and version."""
    name, edition = _VENDORS.sub("", model.lower().rpartition("/")[2]), {}
    while match := _EDITION.search(name):
        name = name[: match.start()] + name[match.end() :]
        if date := match["date"]:
            edition["date"] = date.replace("-", "")
        if version := match["version"]:
            edition["version"] = version.lstrip("v").replace(":", ".").removesuffix(".0")
    name = _DECIMAL_P.sub(r"\1\2", name)
    return [_PUNCTUATION.sub("", part) for part in name.split(":")], edition


def described(value: object) -> str:
    """Return the type of a value in words; a coroutine is closed, or Python would warn that nobody awaited it."""
    if inspect.iscoroutine(value):
        value.close()
    awaited = ", which a callback cannot await" if inspect.isawaitable(value) else ""
    return type(value).__name__ + awaited
