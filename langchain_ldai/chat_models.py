"""LangChain's chat models as AI Configs describe them; this needs the extra `langchain`."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Collection, Mapping
from inspect import isawaitable
from reprlib import repr as short_repr
from typing import Any, Final, Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel

from langchain_ldai._base.guard import Notices
from langchain_ldai._base.options import check_texts
from langchain_ldai._configs.fields import as_text, object_in

try:
    from langchain.chat_models import init_chat_model
except ImportError as _error:
    raise ImportError('create_chat_model needs langchain: pip install "langchain-ldai[langchain]"') from _error

__all__ = ["create_chat_model"]

_log = logging.getLogger(__name__)

_notices: Final = Notices()

_LEFT_OUT: Final = (
    "AI Config %r serves parameters that are not known to be harmless, and are left out: %s. "
    "Where you trust whoever may edit the flag with them, name them in create_chat_model(..., allow=[...])"
)


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

    It passes on copies of the parameters that are known to say how a model answers, such as `temperature` or
    `reasoning`, under LangChain's names: `maxTokens` and `max-tokens` become `max_tokens`. Where several spellings
    of one parameter are served, LangChain's own counts, and the log says so once.

    Any other parameter might send prompts elsewhere, set a key or run code. It is left out, and the log names it
    once, unless `allow` names it. Tools, and what goes with them, are left out too: bind them with `bind_tools`.
    For Bedrock, the model's name gets the AI Config's region before it.

    Args:
        config: The AI Config, also one of `launchdarkly-server-sdk-ai`. Ask it yourself whether it is enabled: a
            disabled one names no model as a rule.
        allow: Names of parameters, as they are served, to pass on whatever they do. Whoever may edit the flag then
            decides on them.
        overrides: Further arguments of `init_chat_model`, such as `api_key`; they win over the AI Config. `model`
            and `model_provider` are in LangChain's terms. `None` leaves a parameter out.

    Raises:
        TypeError: If `config` is not an AI Config, or `allow` is no list of texts.
        ValueError: If no model is named, or no provider that is known, or if the provider's chat model refuses
            the parameters.
        ImportError: If the provider's package is not installed; LangChain says which it is.

    Example:
        >>> config = ai.completion_config("support-bot", context)
        >>> model = create_chat_model(config, api_key="sk-...")
        >>> type(model).__name__, model.model_name
        ('ChatOpenAI', 'gpt-4.1-mini')
    """
    if not isinstance(config, AiConfig):
        given = type(config).__name__ + _remedy(config)
        raise TypeError(f"config is an AI Config (it has key, model and provider), not {given}")
    allow = check_texts("allow is a list of names of parameters", allow, "a parameter's name")
    model, provider = _model_and_provider(config, overrides)
    if not overrides.get("model"):
        model = _model_in_region(model, as_text(getattr(config.model, "region", None)).strip(), provider)
    arguments = {
        **_family_of_arn(config, model),
        **_langchain_parameters(_parameters(config, allow), provider, f"AI Config {config.key!r}"),
        **_langchain_parameters(overrides, provider, "a call of create_chat_model"),
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


def _remedy(given: object) -> str:
    """Return what to do about something that was given in the place of an AI Config."""
    if given is None:
        return (
            ": current_config() returned None: this run is not counted (see the log), or no name in nodes= is "
            "this node's"
        )
    if isinstance(given, str):
        return ": give what a client's completion_config() returns for that key"
    return ": await it first" if isawaitable(given) else ""


def _model_and_provider(config: AiConfig, overrides: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the model's name and LangChain's name of its provider, `None` where LangChain is to infer it."""
    served = _name(config.provider)
    model: str = overrides.get("model") or _name(config.model)
    if not model and getattr(config, "enabled", True) is False:
        raise ValueError(
            f"AI Config {config.key!r} is disabled and names no model: ask config.enabled before you make the "
            "model, or pass model="
        )
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
    """Return whose model is behind an ARN, which Bedrock's chat model cannot see there."""
    family = _folded(_name(config.provider).partition(":")[2])  # such as "anthropic" of `Bedrock:Anthropic`
    return {"provider": family} if family and model.startswith("arn:") else {}


def _name(named: object) -> str:
    return as_text(getattr(named, "name", None)).strip()


def _parameters(config: AiConfig, allow: Collection[str]) -> dict[str, Any]:
    """Return copies of the values to pass on, of an AI Config of this package or of the official one."""
    to_dict = getattr(config.model, "to_dict", None)
    served = object_in(
        to_dict() if to_dict else {"parameters": getattr(config.model, "parameters", None)}, "parameters"
    )
    passed_on = {name: value for name, value in served.items() if _folded(name) in _COMMON_NAMES or name in allow}
    left_out = [name for name in served if name not in passed_on and _folded(name) not in _FOLDED_LEFT]
    if left_out:
        said = config.key, ", ".join(map(repr, left_out))
        _notices.once(_log, logging.WARNING, said, _LEFT_OUT, *said)
    return copy.deepcopy({name: value for name, value in passed_on.items() if value is not None})


_LANGCHAIN_PROVIDERS: Final = """
anthropic anthropic_bedrock azure_ai azure_openai baseten bedrock bedrock_converse
bedrock_mantle_anthropic bedrock_mantle_openai cohere deepseek fireworks google_anthropic_vertex
google_genai google_vertexai groq huggingface ibm langsmith litellm meta mistralai nvidia ollama
openai openrouter perplexity together upstage xai
"""
LANGCHAIN_PROVIDERS: Final = frozenset(_LANGCHAIN_PROVIDERS.split())
"""What `init_chat_model` calls its providers. LangChain has no public list of them; a release may lack some."""

_OTHER_NAMES: Final = {
    "amazonbedrock": "bedrock_converse",
    "awsbedrock": "bedrock_converse",
    "azure": "azure_openai",
    "bedrock": "bedrock_converse",
    "fireworksai": "fireworks",
    "gemini": "google_genai",
    "google": "google_genai",
    "googlegemini": "google_genai",
    "googlevertex": "google_vertexai",
    "ibmwatsonx": "ibm",
    "mistral": "mistralai",
    "togetherai": "together",
    "vertex": "google_vertexai",
    "vertexai": "google_vertexai",
    "watsonx": "ibm",
}
"""What AI Configs call LangChain's providers, where the names differ by more than case and separators."""

_SYNONYMS: Final = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
}
"""Parameters that have a second name, and the one by which most of LangChain's chat models know them."""

_PARAMETERS_OF: Final = {"mistralai": {"seed": "random_seed"}, "ollama": {"max_tokens": "num_predict"}}
"""What a provider's chat model calls a parameter where it does not understand the common name."""

_BEDROCK: Final = {"anthropic_bedrock", "bedrock", "bedrock_converse"}
"""The providers whose models have their region before their names."""

_HARMLESS: Final = """
temperature top_p top_k top_a min_p typical_p tfs_z mirostat mirostat_eta mirostat_tau seed random_seed n best_of
candidate_count do_sample decoding_method logit_bias logprobs top_logprobs frequency_penalty presence_penalty
repetition_penalty repeat_penalty repeat_last_n length_penalty
max_tokens max_completion_tokens max_output_tokens max_new_tokens max_tokens_to_sample min_tokens min_new_tokens
num_predict num_ctx stop stop_sequences truncation
reasoning reasoning_effort reasoning_format thinking thinking_budget thinking_config thinking_level
include_thoughts effort verbosity
response_format response_schema response_mime_type output_config format modalities response_modalities audio
prediction media_resolution image_config convert_system_message_to_human
service_tier performance_config prompt_cache_key prompt_cache_options prompt_cache_retention context_management
include store user safety_identifier safety_settings safe_mode safe_prompt guardrails guardrail_config
web_search_options use_responses_api keep_alive num_gpu num_thread
timeout request_timeout max_retries retries streaming stream_usage disable_streaming
"""
"""Parameters that say how a model answers: how it chooses tokens, how many, with how much thought, in which form,
with which service, and how it is called. None can redirect traffic, set a key or run code."""

_LEFT_TO_THE_CALLER: Final = """
model model_provider configurable_fields config_prefix
tools tool_choice tool_config parallel_tool_calls disable_parallel_tool_use max_tool_calls allowed_tools functions
function_call force_single_step
stream stream_options
"""
"""Parameters that no model is made with: what an AI Config or a caller says elsewhere; tools, which are bound to a
model, and what models refuse or ignore without tools; whether to stream, which LangChain decides."""


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


_COMMON_NAMES: Final = {_folded(name): _SYNONYMS.get(name, name) for name in _HARMLESS.split()}
"""What most of LangChain's chat models call the harmless parameters, by their folded names."""

_LANGCHAINS_OWN: Final = frozenset(_COMMON_NAMES.values())
_FOLDED_LEFT: Final = frozenset(map(_folded, _LEFT_TO_THE_CALLER.split()))
_PROVIDERS: Final = {**{_folded(name): name for name in LANGCHAIN_PROVIDERS}, **_OTHER_NAMES}


def langchain_provider(served: str) -> str | None:
    """Return LangChain's name of the provider that an AI Config names, `None` where it is not known."""
    provider = _PROVIDERS.get(_folded(served.partition(":")[0]))
    return provider if provider == "bedrock_converse" or ":" not in served else None


def _model_in_region(model: str, region: str, provider: str | None) -> str:
    """Return a provider's name for a model in a region; an ARN names its region itself."""
    is_regional = (provider or "").lower().replace("-", "_") in _BEDROCK and region
    return f"{region}.{model}" if is_regional and not model.startswith((f"{region}.", "arn:")) else model


def _langchain_parameters(parameters: Mapping[str, Any], provider: str | None, source: str) -> dict[str, Any]:
    """Return parameters under the names that the provider's chat model has for them.

    Args:
        parameters: Their values by any spelling.
        provider: LangChain's name of the provider.
        source: Who gave them, for the log.
    """
    own = _PARAMETERS_OF.get((provider or "").lower(), {})
    spellings: dict[str, list[str]] = {}
    for spelling in parameters:
        common = _COMMON_NAMES.get(_folded(spelling), spelling)
        spellings.setdefault(own.get(common, common), []).insert(0, spelling)
    found = {}
    for name, spelled in spellings.items():
        chosen = name if name in parameters else max(spelled, key=_LANGCHAINS_OWN.__contains__)
        found[name] = parameters[chosen]
        if len(spelled) > 1:
            said = source, " and ".join(map(repr, spelled)), chosen
            _notices.once(_log, logging.WARNING, said, "%s names one parameter %s: only %r counts", *said)
    return found
