"""LangChain's names for what AI Configs say of a model: its provider and its parameters; pure."""

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


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


_PROVIDERS: Final = {**{_folded(name): name for name in LANGCHAIN_PROVIDERS}, **_OTHER_NAMES}


def langchain_provider(served: str) -> str | None:
    """Return LangChain's name of the provider that an AI Config names, `None` where it is not known."""
    provider = _PROVIDERS.get(_folded(served.partition(":")[0]))
    return provider if provider == "bedrock_converse" or ":" not in served else None


def model_family(served: str) -> str:
    """Return whose models they are, as in `Bedrock:Anthropic`, in small letters; "" where that is not said."""
    return _folded(served.partition(":")[2])


def langchain_parameters(parameters: Mapping[str, Any], provider: str | None) -> dict[str, Any]:
    """Return parameters under the names that the provider's chat model has for them."""
    own = _PARAMETERS_OF.get((provider or "").lower(), {})
    shared = ((_PARAMETERS.get(name, name), value) for name, value in parameters.items())
    return {own.get(name, name): value for name, value in shared}
