"""Each provider name of an AI Config becomes LangChain's name for that provider."""

import re
from importlib.metadata import version

import pytest
from langchain.chat_models import init_chat_model

from langchain_ldai.chat_models import LANGCHAIN_PROVIDERS, langchain_provider

RELEASE = [int(part) for part in version("langchain").split(".")[:2]]


def installed_providers() -> set[str]:
    """Return the providers that the installed LangChain says it has."""
    with pytest.raises(ValueError, match="Supported model providers are: ") as refused:
        init_chat_model("any", model_provider="nobody")
    return set(re.split(r", |: ", str(refused.value))[1:]) | {
        "nvidia"
    }  # which LangChain 0.3 has, but does not list


def test_every_provider_of_langchain_is_accepted_by_its_name() -> None:
    """What `init_chat_model` takes, an AI Config may name, but that `bedrock` is the Converse API."""
    names = {name: langchain_provider(name) for name in installed_providers()}

    assert names.pop("bedrock") == "bedrock_converse"
    assert names == {name: name for name in names}


@pytest.mark.skipif(RELEASE < [1, 4], reason="earlier releases of LangChain have fewer providers")
def test_no_provider_is_named_that_langchain_does_not_have() -> None:
    """The list cannot rot."""
    assert installed_providers() == LANGCHAIN_PROVIDERS


@pytest.mark.parametrize(
    ("named", "provider"),
    [
        ("OpenAI", "openai"),
        ("Azure", "azure_openai"),
        ("AzureOpenAI", "azure_openai"),
        ("Azure OpenAI", "azure_openai"),
        ("Azure AI", "azure_ai"),
        ("Anthropic", "anthropic"),
        ("Bedrock", "bedrock_converse"),
        ("Bedrock:Anthropic", "bedrock_converse"),
        ("bedrock:amazon", "bedrock_converse"),
        ("BEDROCK:Meta", "bedrock_converse"),
        ("Amazon Bedrock", "bedrock_converse"),
        ("AWS-Bedrock", "bedrock_converse"),
        ("Gemini", "google_genai"),
        ("Google", "google_genai"),
        ("Google Gemini", "google_genai"),
        ("google-genai", "google_genai"),
        ("Vertex", "google_vertexai"),
        ("VertexAI", "google_vertexai"),
        ("Google Vertex AI", "google_vertexai"),
        ("Google Vertex", "google_vertexai"),
        ("Mistral", "mistralai"),
        ("Mistral AI", "mistralai"),
        ("Groq", "groq"),
        ("Cohere", "cohere"),
        ("Ollama", "ollama"),
        ("DeepSeek", "deepseek"),
        ("xAI", "xai"),
        ("Together", "together"),
        ("Together AI", "together"),
        ("Fireworks", "fireworks"),
        ("Fireworks AI", "fireworks"),
        ("Perplexity", "perplexity"),
        ("Hugging Face", "huggingface"),
        ("NVIDIA", "nvidia"),
        ("IBM", "ibm"),
        ("watsonx", "ibm"),
        ("IBM watsonx", "ibm"),
    ],
)
def test_launchdarklys_names_of_providers_are_langchains(named: str, provider: str) -> None:
    """Case and separators do not count, and what a name leads to is a provider that LangChain has."""
    assert langchain_provider(named) == provider
    assert provider in installed_providers()
