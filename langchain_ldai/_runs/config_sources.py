"""What a handler counts runs for: AI Configs, ours or the official package's, and functions that return them.

If the caller gave something else, the error or the log says what to give instead.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from reprlib import repr as short_repr
from traceback import walk_tb
from types import MappingProxyType
from typing import Any, Final, Protocol, cast, runtime_checkable

from ldclient import Context

from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai._base.options import check_function, check_instance, described, is_async
from langchain_ldai._runs.trackers import adapter_of
from langchain_ldai.errors import MAX_NAME_LENGTH, WrongResultError


@runtime_checkable
class AiConfig(Protocol):
    """An AI Config as a handler needs it: ours, or one of `launchdarkly-server-sdk-ai`."""

    def create_tracker(self) -> object: ...


@runtime_checkable
class ResumableAiConfig(Protocol):
    """An AI Config, or agent graph, of ours. The caller can continue its runs, and choose their ids."""

    def create_tracker(self, *, run_id: str | None = None) -> object: ...
    def resume_tracker(self, token: str) -> object: ...


class AgentGraph(Protocol):
    """What a handler asks of an agent graph, ours or one that wraps it."""

    nodes: Mapping[str, AiConfig]
    edges: Iterable[Any]


ConfigSource = AiConfig | Callable[[Mapping[str, Any]], AiConfig | None]
"""An AI Config, or a function from a run's metadata to the run's AI Config (`None`: do not track the run)."""

NO_TRACKER: Final = "create_tracker() of an AI Config failed, its runs are not counted"
"""The log message if an AI Config gives no tracker."""


def check_sources(config: object, nodes: object, needed_for: str, guard: Guard) -> None:
    """Raise if a handler's sources cannot give what it needs.

    Args:
        config: The AI Config, or function, of the runs; `None` where there are only nodes.
        nodes: Those of the nodes, by name.
        needed_for: The option that needs AI Configs of ours, "" if no such option is set.
        guard: Catches what the `create_tracker` of another package raises, as in a run.

    Raises:
        TypeError: If a source is neither an AI Config nor a function, is not ours although an option needs that,
            or has trackers that cannot record what a run records.
    """
    if not isinstance(nodes, Mapping) or not all(isinstance(name, str) for name in nodes):
        raise TypeError("nodes is a dictionary of AI Configs, or functions to them, by the names of nodes")
    sources = {f"nodes[{node!r}]": source for node, source in nodes.items()}
    if config is not None or not nodes:
        sources = {"config": config, **sources}
    for name, source in sources.items():
        _check_source(name, source)
        if isinstance(source, AiConfig) and not isinstance(source, ResumableAiConfig):
            _check_foreign(name, source, needed_for, guard)


def _check_source(name: str, source: object) -> None:
    """Raise `TypeError` if something is neither an AI Config nor a function to one."""
    expected = f"{name} is an AI Config (it has create_tracker()) or a function from metadata to one"
    if isinstance(source, type):
        raise TypeError(f"{expected}, not the class {source.__name__}")
    if source is None:
        raise TypeError(f"{expected}, not None; where only nodes are tracked, give nodes=")
    if inspect.isawaitable(source):
        raise TypeError(f"{expected}, not {described(source)}: await it first, and give its result")
    if remedy := _remedy(source):
        raise TypeError(f"{expected}, not {type(source).__name__}: {remedy}")
    if isinstance(source, AiConfig):
        check_instance(name, source, "is an AI Config with create_tracker()", ("create_tracker",))
    elif is_async(source):
        raise TypeError(
            f"{expected}, not a coroutine function, which a callback cannot await: "
            "await the AI Config before the call, and let a plain function return it"
        )
    elif not callable(source):
        raise TypeError(f"{expected}, not {type(source).__name__}")
    else:
        check_function(name, source, "the metadata of the run")


def _check_foreign(name: str, config: AiConfig, needed_for: str, guard: Guard) -> None:
    """Raise `TypeError` if an AI Config that is not ours, or its trackers, cannot do what is needed."""
    if needed_for:
        raise TypeError(
            f"{needed_for} needs an AI Config with resume_tracker(), such as those of LdAiClient; "
            f"{name} is {type(config).__name__}"
        )
    tracker = guard.call(NO_TRACKER, Ids(), config.create_tracker)
    try:
        if tracker is not None:
            adapter_of(tracker)
    except WrongResultError as error:
        raise TypeError(f"{name} cannot be counted for: {error}") from None


def _remedy(given: object) -> str:
    """Return what to give in place of something that is easily taken for an AI Config; "" for anything else."""
    if hasattr(given, "completion_config"):
        return "give what its completion_config() or agent_config() returns"
    if hasattr(given, "variation"):
        return "give what LdAiClient(client).completion_config() returns"
    if hasattr(given, "resumption_token"):
        return "give the AI Config that made it"
    if hasattr(given, "to_payload"):
        return "a default goes to completion_config(key, context, default), which returns an AI Config"
    if inspect.isawaitable(given):
        return "await it before the call, and let the function return its result"
    if isinstance(given, Mapping):
        return "give one AI Config; those of nodes go into nodes={...}"
    return "give what a client's completion_config() returns for that key" if isinstance(given, str) else ""


def config_of(source: Callable[..., object], metadata: Mapping[str, object]) -> AiConfig | None:
    """Return the AI Config that a caller's function gives; an AI Config may be callable itself.

    Raises:
        WrongResultError: If the function returned something else.
    """
    config = source if hasattr(source, "create_tracker") else source(MappingProxyType(metadata))
    if config is None or (hasattr(config, "create_tracker") and not hasattr(config, "completion_config")):
        return cast("AiConfig | None", config)
    found = "return ai.completion_config(key, context)" if isinstance(config, Context) else _remedy(config)
    remedy = f": {found}" if found else ""
    raise WrongResultError(f"the function given for an AI Config returned a {described(config)}{remedy}")


def remedy_for(error: Exception, metadata: Mapping[str, object]) -> str:
    """Return what helps a function that missed a name in a run's metadata, or a variable; "" for other errors."""
    match error:
        case LookupError(args=(ContextVar(name=name), *_)) if _is_name(name):
            return (
                f" (the context variable {name!r} is not set where the run starts: set it before the call, in the "
                "same task or thread, or pass the value in the metadata of the call)"
            )
        case AttributeError(obj=MappingProxyType(), name=name) if _is_name(name):
            return f' (the metadata is a dictionary: metadata["{name}"])'
        case KeyError(args=(key, *_)) if _is_name(key):
            *_, (frame, _) = walk_tb(error.__traceback__)
            if frame.f_globals.get("__name__") == os.__name__:
                return f" (the environment variable {key} is not set)"
            if key not in metadata:
                names = [name for name in metadata if _is_name(name)]
                held = short_repr(names) if names else "nothing"
                return (
                    f" (if it was looked up in the metadata, that holds {held}: pass "
                    f'{{"metadata": {{"{key}": ...}}}} in the config of the call)'
                )
    return ""


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier() and len(key) <= MAX_NAME_LENGTH


def tool_key(config: object, name: str) -> str:
    """Return LaunchDarkly's key of the AI Config's tool with a name; the name itself if no tool has it."""
    tools = getattr(config, "tools", None)
    for key, tool in tools.items() if isinstance(tools, Mapping) else ():
        served = tool.get("name") if isinstance(tool, Mapping) else getattr(tool, "name", None)
        if served == name and isinstance(key, str):
            return key
    return name
