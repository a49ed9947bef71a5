"""The providers: how each one's chat model is made, how it answers, and what is known once it has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import pytest
from langchain_core.language_models.chat_models import BaseChatModel

from langchain_ldai import TokenUsage
from tests.providers.server import Answer, array, aws_events, body, events, lines

KEY: Final = "no-key"
AWS_REGION: Final = "us-east-1"
AWS_SERVICES: Final = {"client": "bedrock-runtime", "bedrock_client": "bedrock"}
BEDROCK_MODEL: Final = "anthropic.claude-3-haiku-20240307-v1:0"
BEDROCK_HEADERS: Final = {"x-amzn-bedrock-input-token-count": "10", "x-amzn-bedrock-output-token-count": "3"}
GOOGLE_MAY_SPEAK_GRPC: Final = find_spec("grpc") is not None
"""Whether Google's package is one of those for LangChain 0.3, which speak gRPC unless told not to."""


def openai(url: str, **options: object) -> BaseChatModel:
    """Return OpenAI's chat model, told to report what it uses when it streams."""
    module = pytest.importorskip("langchain_openai")
    asked = {"stream_usage": True, "max_retries": 0, **options}
    model: BaseChatModel = module.ChatOpenAI(model="gpt-4.1-mini", api_key=KEY, base_url=f"{url}/v1", **asked)
    return model


def openai_responses(url: str, **options: object) -> BaseChatModel:
    """Return OpenAI's chat model over the Responses API."""
    return openai(url, use_responses_api=True, **options)


def anthropic(url: str, **options: object) -> BaseChatModel:
    """Return Anthropic's chat model."""
    module = pytest.importorskip("langchain_anthropic")
    asked = {"max_retries": 0, "max_tokens": 2000, **options}
    model: BaseChatModel = module.ChatAnthropic(model="claude-of-the-tests", api_key=KEY, base_url=url, **asked)
    return model


def google(url: str) -> BaseChatModel:
    """Return Google's chat model."""
    module = pytest.importorskip("langchain_google_genai")
    over_http = {"transport": "rest"} if GOOGLE_MAY_SPEAK_GRPC else {}
    model: BaseChatModel = module.ChatGoogleGenerativeAI(
        model="gemini-2.5-flash",
        google_api_key=KEY,
        client_options={"api_endpoint": url},
        max_retries=1,
        **over_http,
    )
    return model


def ollama(url: str, **options: object) -> BaseChatModel:
    """Return Ollama's chat model."""
    module = pytest.importorskip("langchain_ollama")
    model: BaseChatModel = module.ChatOllama(model="llama3.2", base_url=url, **options)
    return model


def mistral(url: str) -> BaseChatModel:
    """Return Mistral's chat model."""
    module = pytest.importorskip("langchain_mistralai")
    model: BaseChatModel = module.ChatMistralAI(
        model="mistral-small-latest", api_key=KEY, endpoint=f"{url}/v1", max_retries=1
    )
    return model


def groq(url: str) -> BaseChatModel:
    """Return Groq's chat model."""
    module = pytest.importorskip("langchain_groq")
    model: BaseChatModel = module.ChatGroq(model="llama-3.1-8b-instant", api_key=KEY, base_url=url, max_retries=0)
    return model


def bedrock_converse(url: str) -> BaseChatModel:
    """Return Bedrock's chat model over the Converse API."""
    return _bedrock("ChatBedrockConverse", url)


def bedrock_invoke(url: str) -> BaseChatModel:
    """Return Bedrock's chat model over the Invoke API."""
    return _bedrock("ChatBedrock", url)


def _bedrock(name: str, url: str) -> BaseChatModel:
    module = pytest.importorskip("langchain_aws")
    clients = {parameter: _aws_client(service, url) for parameter, service in AWS_SERVICES.items()}
    model: BaseChatModel = getattr(module, name)(model=BEDROCK_MODEL, region_name=AWS_REGION, **clients)
    return model


def _aws_client(service: str, url: str) -> object:
    config = pytest.importorskip("botocore.config").Config(retries={"max_attempts": 0})
    return _aws_session().client(service, endpoint_url=url, config=config)


@cache
def _aws_session() -> Any:
    """Return one session for all clients, as it takes a second to read what AWS's services are."""
    session = pytest.importorskip("boto3").Session
    return session(aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name=AWS_REGION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One way to a provider's models; each of its answers took 10 tokens in and 3 out.

    Args:
        name: Its folder below `wire`.
        make: Returns its chat model for a base URL.
        whole: Its answer in one piece; `None` where the package streams in any case.
        stream: Reads a streamed answer by its name.
        until_text: How many parts of the streamed answer it takes until there is text.
        partial: What is known to have been used by then.
    """

    name: str
    make: Callable[[str], BaseChatModel]
    whole: Answer | None
    stream: Callable[[str], Answer]
    until_text: int
    partial: TokenUsage | None = None

    @property
    def until_usage(self) -> Answer | None:
        """Its streamed answer, broken off between the usage and the end; `None` where they are one event."""
        if self.name == "bedrock-invoke":
            return None
        answer = self.stream("answer")
        return answer.cut_after(len(answer.parts) - answer.parts[-1].startswith(b"data: [DONE]"))


def _over_sse(name: str, make: Callable[[str], BaseChatModel], until_text: int) -> Provider:
    return Provider(
        name=name,
        make=make,
        whole=body(f"{name}/answer.json"),
        stream=lambda answer: events(f"{name}/{answer}.sse"),
        until_text=until_text,
    )


def _over_aws(
    name: str, make: Callable[[str], BaseChatModel], until_text: int, headers: Mapping[str, str]
) -> Provider:
    return Provider(
        name=name,
        make=make,
        whole=body(f"{name}/answer.json", headers=headers),
        stream=lambda answer: aws_events(f"{name}/{answer}.ndjson"),
        until_text=until_text,
    )


PROVIDERS: Final = (
    _over_sse("openai", openai, until_text=2),
    _over_sse("openai-responses", openai_responses, until_text=5),
    _over_sse("anthropic", anthropic, until_text=4),
    Provider(
        name="google",
        make=google,
        whole=body("google/answer.json"),
        stream=lambda answer: (array if GOOGLE_MAY_SPEAK_GRPC else events)(f"google/{answer}.sse"),
        until_text=1,
        partial=TokenUsage(total=12, input=10, output=2),
    ),
    Provider(
        name="ollama",
        make=ollama,
        whole=None,
        stream=lambda answer: lines(f"ollama/{answer}.ndjson"),
        until_text=1,
    ),
    _over_sse("mistral", mistral, until_text=2),
    _over_sse("groq", groq, until_text=2),
    _over_aws("bedrock-converse", bedrock_converse, until_text=2, headers={}),
    _over_aws("bedrock-invoke", bedrock_invoke, until_text=3, headers=BEDROCK_HEADERS),
)
