"""LangChain's names for what AI Configs say of a model, and which parameters a flag may set; pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

LANGCHAIN_PROVIDERS: Final = frozenset(
    {
        "anthropic",
        "anthropic_bedrock",
        "azure_ai",
        "azure_openai",
        "baseten",
        "bedrock",
        "bedrock_converse",
        "bedrock_mantle_anthropic",
        "bedrock_mantle_openai",
        "cohere",
        "deepseek",
        "fireworks",
        "google_anthropic_vertex",
        "google_genai",
        "google_vertexai",
        "groq",
        "huggingface",
        "ibm",
        "langsmith",
        "litellm",
        "meta",
        "mistralai",
        "nvidia",
        "ollama",
        "openai",
        "openrouter",
        "perplexity",
        "together",
        "upstage",
        "xai",
    }
)
"""What `init_chat_model` calls its providers; not every release of LangChain has them all."""

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
"""What AI Configs call them, where that differs by more than case and separators."""

_PARAMETERS: Final = {
    "frequencyPenalty": "frequency_penalty",
    "maxCompletionTokens": "max_tokens",
    "maxOutputTokens": "max_tokens",
    "maxRetries": "max_retries",
    "maxTokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "presencePenalty": "presence_penalty",
    "reasoningEffort": "reasoning_effort",
    "stopSequences": "stop",
    "stop_sequences": "stop",
    "topK": "top_k",
    "topP": "top_p",
}
"""What AI Configs call parameters, and the names that LangChain's chat models share for them."""

_PARAMETERS_OF: Final = {"mistralai": {"seed": "random_seed"}, "ollama": {"max_tokens": "num_predict"}}
"""Where a provider's chat model does not understand the shared name."""

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
"""Parameters that say how a model answers: how tokens are chosen and how many, how much thought, in which form,
with which service, and how it is called."""

_LEFT_TO_THE_CALLER: Final = """
model model_provider configurable_fields config_prefix
tools tool_choice tool_config parallel_tool_calls disable_parallel_tool_use max_tool_calls allowed_tools functions
function_call force_single_step
stream stream_options
"""
"""Parameters that no model is made with: what an AI Config or a caller says elsewhere; tools, which are bound to a
model, and what is of no use, or refused, without them; whether to stream, which LangChain decides."""


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


_FOLDED_HARMLESS: Final = frozenset(map(_folded, _HARMLESS.split()))
_FOLDED_LEFT: Final = frozenset(map(_folded, _LEFT_TO_THE_CALLER.split()))
_PROVIDERS: Final = {**{_folded(name): name for name in LANGCHAIN_PROVIDERS}, **_OTHER_NAMES}


def langchain_provider(served: str) -> str | None:
    """Return LangChain's name of the provider that an AI Config names, `None` where it is not known."""
    provider = _PROVIDERS.get(_folded(served.partition(":")[0]))
    return provider if provider == "bedrock_converse" or ":" not in served else None


def model_family(served: str) -> str:
    """Return whose models they are, as in `Bedrock:Anthropic`, in small letters; "" where that is not said."""
    return _folded(served.partition(":")[2])


def is_harmless(parameter: str) -> bool:
    """Whether a parameter, by whichever spelling, can neither redirect traffic, nor set a key, nor run code."""
    return _folded(parameter) in _FOLDED_HARMLESS


def is_left_to_the_caller(parameter: str) -> bool:
    """Whether a parameter, by whichever spelling, is about what a caller does with a model."""
    return _folded(parameter) in _FOLDED_LEFT


def model_in_region(model: str, region: str, provider: str | None) -> str:
    """Return the name that a provider has for a model in a region; an ARN says where it is itself."""
    is_regional = (provider or "").lower().replace("-", "_") in _BEDROCK and region
    return f"{region}.{model}" if is_regional and not model.startswith((f"{region}.", "arn:")) else model


def langchain_parameters(parameters: Mapping[str, Any], provider: str | None) -> dict[str, Any]:
    """Return parameters under the names that the provider's chat model has for them."""
    own = _PARAMETERS_OF.get((provider or "").lower(), {})
    shared = ((_PARAMETERS.get(name, name), value) for name, value in parameters.items())
    return {own.get(name, name): value for name, value in shared}
