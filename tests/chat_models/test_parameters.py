"""A flag's parameters redirect no traffic, set no key and run no code, unless the caller allows them."""

import importlib
import logging
import re
from typing import Any, Final

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import LdAiClient
from langchain_ldai.chat_models import create_chat_model
from langchain_ldai.testing import RecordingClient
from tests.providers.server import body, serving

USER: Final = Context.create("user-1")
ELSEWHERE: Final = "http://127.0.0.1:1/elsewhere"
BEDROCK_MODEL: Final = "anthropic.claude-3-haiku-20240307-v1:0"
MODELS: Final = {
    "OpenAI": ("gpt-4.1", "langchain_openai:ChatOpenAI"),
    "Azure": ("gpt-4.1", "langchain_openai:AzureChatOpenAI"),
    "Anthropic": ("claude-4", "langchain_anthropic:ChatAnthropic"),
    "Gemini": ("gemini-2.5", "langchain_google_genai:ChatGoogleGenerativeAI"),
    "Mistral": ("mistral-small", "langchain_mistralai:ChatMistralAI"),
    "Groq": ("llama-3", "langchain_groq:ChatGroq"),
    "Ollama": ("llama3.2", "langchain_ollama:ChatOllama"),
    "Bedrock": (BEDROCK_MODEL, "langchain_aws:ChatBedrockConverse"),
}
"""By provider: a model, and the class that LangChain makes it of."""

# Google's package derives from a class of aiohttp that wants no heirs.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


def make_configs(
    provider: str,
    parameters: dict[str, Any] | None = None,
    *,
    key: str = "bot",
    region: str = "",
    model: str = "",
) -> list[Any]:
    """Return an AI Config of a model, as this package and as the official one reads it."""
    payload = {
        "_ldMeta": {"enabled": True},
        "model": {"name": model or MODELS[provider][0], "parameters": parameters or {}, "region": region},
        "provider": {"name": provider},
    }
    clients = LdAiClient(RecordingClient({key: payload})), LDAIClient(RecordingClient({key: payload}))
    return [client.completion_config(key, USER) for client in clients]


def constructor_arguments(model: BaseChatModel) -> dict[str, Any]:
    """Return what a model was made of, without what it made of that itself."""
    return {
        name: str(getattr(model, name))
        for name in sorted(model.model_fields_set)
        if "client" not in name.split("_")
    }


def fields_of(provider: str) -> dict[str, str]:
    """Return the names under which a provider's class takes something, and what it takes."""
    module, _, name = MODELS[provider][1].partition(":")
    made = getattr(importlib.import_module(module), name)
    found = {}
    for field_name, field in made.model_fields.items():
        choices = getattr(field.validation_alias, "choices", [field.validation_alias])
        for alias in {field_name, field.alias, *choices} - {None}:
            found[str(alias)] = str(field.annotation)
    return found


SENSITIVE: Final = re.compile(
    r"url|uri|endpoint|host|proxy|(^|_)base($|_)|key$|token$|secret|credential|header|client|transport|socket|region|"
    r"location|project|organization|deployment|vertexai|kwargs|body|query|(^|_)args|callback|cache$|limiter|provider|"
    r"servers|container|(^|_)code($|_)|metadata|tags|model(_id|_name)?$|api_(version|type)"
)
"""What is in the name of a field that says where a call goes, with which key, or what runs beside it."""


@pytest.mark.parametrize("provider", MODELS)
def test_no_field_that_redirects_sets_a_key_or_runs_code_is_served(provider: str) -> None:
    """Every field of a provider's class whose name or type says that it could is left out, by whichever alias."""
    harmful = [
        name
        for name, takes in fields_of(provider).items()
        if SENSITIVE.search(name) or re.search("SecretStr|Callable|Client|BaseCache|Callback|RateLimiter", takes)
    ]
    assert len(harmful) > 8

    made = create_chat_model(make_configs(provider, dict.fromkeys(harmful, ELSEWHERE))[0])

    assert constructor_arguments(made) == constructor_arguments(create_chat_model(make_configs(provider)[0]))


NAMES: Final = [
    "base_url",
    "baseURL",
    "BASE_URL",
    "openai_api_base",
    "openai_proxy",
    "anthropic_api_url",
    "azure_endpoint",
    "azure_ad_token",
    "endpoint_url",
    "api_base",
    "host",
    "api_key",
    "apiKey",
    "aws_access_key_id",
    "credentials_profile_name",
    "client_options",
    "transport",
    "model_kwargs",
    "modelKwargs",
    "extra_body",
    "extra_headers",
    "extra_query",
    "default_headers",
    "additional_headers",
    "http_client",
    "http_async_client",
    "root_client",
    "callbacks",
    "cache",
    "rate_limiter",
    "metadata",
    "tags",
    "trust_remote_code",
    "pipeline_kwargs",
    "additional_model_request_fields",
    "mcp_servers",
    "config",
    "model_id",
    "deployment_name",
    "lc_attributes",
    "a_parameter_of_next_year",
]


@pytest.mark.parametrize("provider", MODELS)
def test_what_is_not_known_to_be_harmless_is_left_out(provider: str, caplog: pytest.LogCaptureFixture) -> None:
    """A parameter that nobody vouches for is not passed on, whether or not the provider's class has it."""
    plain = constructor_arguments(create_chat_model(make_configs(provider)[0]))

    for config in make_configs(provider, dict.fromkeys(NAMES, ELSEWHERE), key=f"left-out-{provider}"):
        assert constructor_arguments(create_chat_model(config)) == plain

    (record,) = [record for record in caplog.records if record.name.startswith("langchain_ldai")]
    assert all(repr(name) in record.getMessage() for name in NAMES)


def test_a_prompt_goes_where_the_caller_says_with_the_callers_headers() -> None:
    """Over the wire: neither address nor headers of a flag reach a provider."""
    served = {
        "base_url": ELSEWHERE,
        "default_headers": {"X-Flag": "1"},
        "extra_headers": {"X-Flag": "1"},
        "model_kwargs": {"extra_headers": {"X-Flag": "1"}},
        "temperature": 0.5,
    }

    with serving(body("openai/answer.json")) as url:
        model = create_chat_model(make_configs("OpenAI", served)[0], base_url=f"{url}/v1", max_retries=0)
        answer = model.invoke("Hi")

    assert answer.content
    assert (model.temperature, model.default_headers, model.model_kwargs) == (0.5, None, {})


def test_what_is_left_out_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning names the AI Config, the parameters and the remedy, and none of the values, however often."""
    served = {"base_url": ELSEWHERE, "temperature": 0.5, "api_key": "sk-secret", "tools": [{"name": "search"}]}
    for config in make_configs("Ollama", served, key="left-out-once") * 2:
        create_chat_model(config)

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("langchain_ldai.chat_models", logging.WARNING)
    message = record.getMessage()
    assert all(part in message for part in ("'left-out-once'", "'base_url', 'api_key'", "allow=["))
    assert not any(part in message for part in (ELSEWHERE, "sk-secret", "temperature", "tools"))


def test_each_ai_config_and_set_of_names_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Another AI Config, and another parameter that is served later, are told too."""
    for key, name in (("first", "host"), ("second", "host"), ("second", "proxies")):
        create_chat_model(make_configs("Ollama", {name: ELSEWHERE}, key=f"each-is-logged-{key}")[0])

    assert len(caplog.records) == 3


def test_what_is_allowed_by_name_is_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    """`allow` lets the parameters it names through and no others; what the caller passes still wins."""
    served = {
        "base_url": ELSEWHERE,
        "default_headers": {"a": "b"},
        "extra_body": {"c": 1},
        "openai_proxy": ELSEWHERE,
    }

    for config in make_configs("OpenAI", served, key="allowed"):
        made = create_chat_model(config, allow=["base_url", "extra_body", "unknown"])
        overridden = create_chat_model(config, allow={"base_url"}, base_url="http://127.0.0.1:2")

        assert (made.openai_api_base, made.extra_body) == (ELSEWHERE, {"c": 1})
        assert (made.default_headers, made.openai_proxy) == (None, None)
        assert overridden.openai_api_base == "http://127.0.0.1:2"
    assert "'default_headers', 'openai_proxy'" in caplog.records[0].getMessage()


def test_allow_is_a_list() -> None:
    """A text would allow each of its letters."""
    with pytest.raises(TypeError, match=r"^allow is a list of names of parameters, not one text: \['base_url'\]$"):
        create_chat_model(make_configs("Ollama")[0], allow="base_url")


ORDINARY: Final[dict[str, dict[str, Any]]] = {
    "OpenAI": {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {1: 2},
        "reasoning_effort": "low",
        "verbosity": "low",
        "service_tier": "flex",
        "store": False,
        "streaming": True,
        "stream_usage": True,
        "max_retries": 1,
        "max_tokens": 50,
    },
    "Anthropic": {"top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048},
    "Gemini": {"top_k": 5, "thinking_budget": 0, "response_mime_type": "text/plain", "timeout": 5.0},
    "Mistral": {"top_p": 0.5, "safe_mode": True, "timeout": 5},
    "Groq": {"reasoning_format": "hidden", "service_tier": "flex", "n": 1},
    "Ollama": {"mirostat": 1, "num_ctx": 4096, "repeat_penalty": 1.5, "format": "json", "keep_alive": "5m"},
    "Bedrock": {
        "temperature": 0.5,
        "top_p": 0.9,
        "guardrail_config": {"guardrailIdentifier": "g"},
        "max_tokens": 5,
    },
}


@pytest.mark.parametrize(("provider", "parameters"), ORDINARY.items(), ids=ORDINARY)
def test_ordinary_parameters_are_passed_on(
    provider: str, parameters: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What says how a model answers arrives in the provider's class, false values and nested ones too."""
    for config in make_configs(provider, parameters):
        made = create_chat_model(config)

        assert {name: getattr(made, name) for name in parameters} == parameters
    assert [record for record in caplog.records if record.name.startswith("langchain_ldai")] == []


USELESS: Final = {
    "tools": [{"name": "search"}],
    "tool_choice": "auto",
    "toolChoice": "auto",
    "tool_config": {"mode": "ANY"},
    "parallel_tool_calls": False,
    "parallelToolCalls": False,
    "functions": [],
    "function_call": "none",
    "max_tool_calls": 1,
    "stream": True,
    "stream_options": {"include_usage": True},
}


@pytest.mark.parametrize("provider", MODELS)
def test_what_makes_sense_only_with_tools_or_streams_is_left_out_with_them(
    provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tools are the caller's to bind, and streams to ask for; what goes with them is left out without a word."""
    made = create_chat_model(make_configs(provider, USELESS)[0])

    assert constructor_arguments(made) == constructor_arguments(create_chat_model(make_configs(provider)[0]))
    assert [record for record in caplog.records if record.name.startswith("langchain_ldai")] == []


@pytest.mark.filterwarnings("ignore:.*parallel_tool_calls")
def test_who_binds_tools_may_let_through_how_they_are_called() -> None:
    """What goes with tools can be allowed by name too."""
    config = make_configs("OpenAI", {"parallel_tool_calls": False})[0]

    made = create_chat_model(config, allow=["parallel_tool_calls"])

    assert made.model_kwargs == {"parallel_tool_calls": False}


REGIONS: Final = {
    "bedrock": ("Bedrock", "us", BEDROCK_MODEL, f"us.{BEDROCK_MODEL}"),
    "any-case": ("BEDROCK", "us", BEDROCK_MODEL, f"us.{BEDROCK_MODEL}"),
    "by-another-name": ("aws bedrock", "eu", BEDROCK_MODEL, f"eu.{BEDROCK_MODEL}"),
    "with-a-family": ("Bedrock:Anthropic", "eu", BEDROCK_MODEL, f"eu.{BEDROCK_MODEL}"),
    "once": ("Bedrock", "us", f"us.{BEDROCK_MODEL}", f"us.{BEDROCK_MODEL}"),
    "no-region": ("Bedrock", "", BEDROCK_MODEL, BEDROCK_MODEL),
    "blank": ("Bedrock", " ", BEDROCK_MODEL, BEDROCK_MODEL),
    "another-provider": ("Ollama", "us", "llama3.2", "llama3.2"),
}


@pytest.mark.parametrize(("provider", "region", "model", "expected"), REGIONS.values(), ids=REGIONS)
def test_bedrocks_models_have_their_region_before_their_names(
    provider: str, region: str, model: str, expected: str
) -> None:
    """The region is put before the name once, for Bedrock alone, also where the official package read it."""
    for config in make_configs(provider, region=region, model=model):
        made = create_chat_model(config)

        assert (made.model if provider == "Ollama" else made.model_id) == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"model": "anthropic.claude-4"}, "anthropic.claude-4"),
        ({"model_provider": "bedrock_converse"}, f"us.{BEDROCK_MODEL}"),
    ],
    ids=["model", "provider"],
)
def test_a_model_that_the_caller_names_has_no_region(overrides: dict[str, str], expected: str) -> None:
    """What the caller calls a model is what is called; the region belongs to the name that is served."""
    config = make_configs("Bedrock", region="us", model=BEDROCK_MODEL)[0]

    assert create_chat_model(config, **overrides).model_id == expected


def test_an_arn_says_where_it_is_itself() -> None:
    """A region before an ARN would name nothing."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"

    assert create_chat_model(make_configs("Bedrock:Anthropic", region="us", model=arn)[0]).model_id == arn
