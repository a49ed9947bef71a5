"""LangChain chat models as AI Configs describe them; with the extra `langchain`."""

import copy
import logging
from collections.abc import Collection, Mapping
from functools import lru_cache
from reprlib import repr as short_repr
from typing import Any, Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel

from langchain_ldai.model_names import (
    LANGCHAIN_PROVIDERS,
    is_harmless,
    is_left_to_the_caller,
    langchain_parameters,
    langchain_provider,
    model_family,
    model_in_region,
)
from langchain_ldai.payload import as_text, object_in

try:
    from langchain.chat_models import init_chat_model
except ImportError as error:
    raise ImportError('create_chat_model needs langchain: pip install "langchain-ldai[langchain]"') from error

_log = logging.getLogger(__name__)


@runtime_checkable
class AiConfig(Protocol):
    """An AI Config as a chat model needs it: ours, or one of `launchdarkly-server-sdk-ai`."""

    @property
    def key(self) -> str: ...
    @property
    def model(self) -> object: ...
    @property
    def provider(self) -> object: ...


def create_chat_model(config: AiConfig, *, allow: Collection[str] = (), **overrides: Any) -> BaseChatModel:
    """Return the chat model that an AI Config describes, made by LangChain's `init_chat_model`.

    Parameters of the AI Config that are known to say how a model answers, such as `temperature` or `reasoning`,
    are copied and get LangChain's names, as in `maxTokens` to `max_tokens`. Any other might send prompts
    elsewhere, set a key or run code: it is left out, and named once in the log, unless `allow` names it. Tools,
    and what goes with them, are left out too: bind them with `bind_tools`. For Bedrock, the AI Config's region is
    put before the model's name.

    Args:
        config: The AI Config, also one of `launchdarkly-server-sdk-ai`. Whether it is enabled is yours to ask.
        allow: Names of parameters, as they are served, that are passed on whatever they do: whoever may edit the
            flag then decides on them.
        overrides: Further arguments of `init_chat_model`, such as `api_key`; they win over the AI Config. `model`
            and `model_provider` are in LangChain's terms. `None` leaves a parameter out.

    Raises:
        TypeError: If `config` is not an AI Config, or `allow` is one text.
        ValueError: If no model is named, or no provider that is known, or if the provider's chat model refuses
            the parameters.
        ImportError: If the provider's package, which LangChain then names, is not installed.
    """
    if not isinstance(config, AiConfig):
        raise TypeError(f"config is an AI Config (it has key, model and provider), not {type(config).__name__}")
    if isinstance(allow, str):
        raise TypeError(f"allow is a list of names of parameters, not one text: [{allow!r}]")
    model, provider = _model_and_provider(config, overrides)
    if not overrides.get("model"):
        model = model_in_region(model, as_text(getattr(config.model, "region", None)).strip(), provider)
    arguments = {
        **_family_of_arn(config, model),
        **langchain_parameters(_parameters(config, allow), provider),
        **langchain_parameters(overrides, provider),
        "model": model,
        "model_provider": provider,
    }
    try:
        made: BaseChatModel = init_chat_model(
            **{name: value for name, value in arguments.items() if value is not None}
        )
    except ValueError as error:
        if provider is None and str(error).startswith("Unable to infer"):
            raise ValueError(
                f"AI Config {config.key!r} names no provider, and LangChain knows none by the name of its model, "
                f"{short_repr(model)}: name a provider in LaunchDarkly, or pass model_provider="
            ) from error
        error.add_note(f"while making the chat model of AI Config {config.key!r}")
        raise
    return made


def _model_and_provider(config: AiConfig, overrides: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the model's name and LangChain's name of its provider, `None` where LangChain is to infer it."""
    served = _name(config.provider)
    model: str = overrides.get("model") or _name(config.model)
    if not model:
        raise ValueError(f"AI Config {config.key!r} names no model: name one in LaunchDarkly, or pass model=")
    if "model_provider" in overrides:
        return model, overrides["model_provider"] or None
    prefix, _, rest = model.partition(":")
    if prefix in LANGCHAIN_PROVIDERS and ("model" in overrides or not served):
        return rest, prefix
    if not served:
        return model, None
    provider = langchain_provider(served)
    if provider is None:
        raise ValueError(
            f"AI Config {config.key!r} names the provider {short_repr(served)}, which is not known: pass "
            f"model_provider=, or name one of these in LaunchDarkly: {', '.join(sorted(LANGCHAIN_PROVIDERS))}"
        )
    return model, provider


def _family_of_arn(config: AiConfig, model: str) -> dict[str, str]:
    """Return what Bedrock's chat model cannot see in an ARN: whose model it is."""
    family = model_family(_name(config.provider))
    return {"provider": family} if family and model.startswith("arn:") else {}


def _name(named: object) -> str:
    return as_text(getattr(named, "name", None)).strip()


def _parameters(config: AiConfig, allow: Collection[str]) -> dict[str, Any]:
    """Return a copy of the parameters to pass on, of an AI Config of this package or of the official one."""
    to_dict = getattr(config.model, "to_dict", None)
    served = object_in(
        to_dict() if to_dict else {"parameters": getattr(config.model, "parameters", None)}, "parameters"
    )
    passed_on = {name: value for name, value in served.items() if is_harmless(name) or name in allow}
    left_out = tuple(name for name in served if name not in passed_on and not is_left_to_the_caller(name))
    if left_out:
        _tell_what_is_left_out(config.key, left_out)
    return copy.deepcopy(passed_on)


@lru_cache(maxsize=1_000)
def _tell_what_is_left_out(key: str, names: tuple[str, ...]) -> None:
    """Log the names once."""
    _log.warning(
        "AI Config %r serves parameters that are not known to be harmless, and are left out: %s. "
        "Where you trust whoever may edit the flag with them, name them in create_chat_model(..., allow=[...])",
        key,
        ", ".join(map(repr, names)),
    )
