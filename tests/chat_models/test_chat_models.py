"""A chat model made from an AI Config is LangChain's own, under the name and with the parameters served."""

import importlib
import sys
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from ldai import LDAIClient
from ldai.models import AIConfig
from ldclient import Context

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiCompletionConfig, LdAiHandler, ModelConfig, RunReport
from langchain_ldai.chat_models import LANGCHAIN_PROVIDERS, create_chat_model
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.providers.server import body, serving
from tests.support.chains import SUCCESS, TOKENS, counts

KEY = "no-key"
USER = Context.create("user-1")
BEDROCK_MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
BEDROCK_ARN = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"

# Google's package derives from a class of aiohttp that wants no heirs.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


def flag(model: str, provider: str, *, mode: str = "completion", **parameters: Any) -> dict[str, Any]:
    """Return what LaunchDarkly serves for an AI Config."""
    return {
        "_ldMeta": {"enabled": True, "mode": mode},
        "model": {"name": model, "parameters": parameters},
        "provider": {"name": provider},
    }


def make_config(model: str, provider: str = "", **parameters: Any) -> LdAiCompletionConfig:
    """Return an AI Config of this model, provider and parameters."""
    client = RecordingClient({"support-bot": flag(model, provider, **parameters)})
    return LdAiClient(client).completion_config("support-bot", USER)


def make_official_config(payload: dict[str, Any]) -> AIConfig:
    """Return an AI Config as `launchdarkly-server-sdk-ai` reads it."""
    return LDAIClient(RecordingClient({"support-bot": payload})).completion_config("support-bot", USER)


def constructor_arguments(model: BaseChatModel) -> dict[str, Any]:
    """Return what a model was made of."""
    return {"class": type(model), **{name: getattr(model, name) for name in model.model_fields_set}}


def class_and_model_name(model: BaseChatModel) -> tuple[str, str]:
    """Return a model's class and the name that it tells LangChain."""
    return type(model).__name__, model._get_ls_params()["ls_model_name"].removeprefix("models/")


@pytest.mark.parametrize(
    ("provider", "model", "class_name", "attributes"),
    [
        ("OpenAI", "gpt-4.1", "ChatOpenAI", {"max_tokens": 50, "stop": ["END"]}),
        ("Azure", "gpt-4.1", "AzureChatOpenAI", {"max_tokens": 50, "stop": ["END"]}),
        ("Anthropic", "claude-4", "ChatAnthropic", {"max_tokens": 50, "stop_sequences": ["END"]}),
        ("Gemini", "gemini-2.5", "ChatGoogleGenerativeAI", {"max_output_tokens": 50, "stop": ["END"]}),
        ("Ollama", "llama3.2:1b", "ChatOllama", {"num_predict": 50, "stop": ["END"]}),
        ("Groq", "openai:gpt-oss", "ChatGroq", {"max_tokens": 50, "stop": ["END"]}),
        ("Bedrock", BEDROCK_MODEL, "ChatBedrockConverse", {"max_tokens": 50, "stop_sequences": ["END"]}),
    ],
)
def test_parameters_arrive_under_each_providers_names(
    provider: str, model: str, class_name: str, attributes: dict[str, object]
) -> None:
    """Camel case, and a name that one provider has for a limit, end in the field that the class has for it."""
    config = make_config(model, provider, temperature=0.5, maxTokens=50, stopSequences=["END"])

    made = create_chat_model(config)

    assert class_and_model_name(made) == (class_name, model)
    assert made.temperature == 0.5
    assert {name: getattr(made, name) for name in attributes} == attributes


def test_mistral_has_a_name_of_its_own_for_the_seed() -> None:
    """A parameter that one provider calls otherwise is renamed for that one alone."""
    made = [create_chat_model(make_config("any", provider, seed=7)) for provider in ("Mistral", "OpenAI")]

    assert (made[0].random_seed, made[1].seed) == (7, 7)


def test_the_configs_of_every_mode_make_models() -> None:
    """Agents and judges name models just as completions do."""
    modes = ("completion", "agent", "judge")
    ai = LdAiClient(RecordingClient({mode: flag("llama3.2", "ollama", mode=mode, topK=5) for mode in modes}))
    configs = [getattr(ai, f"{mode}_config")(mode, USER) for mode in modes]

    made = [create_chat_model(config) for config in configs]

    assert [(model.model, model.top_k) for model in made] == [("llama3.2", 5)] * 3


def test_a_config_of_the_official_sdk_makes_the_same_model() -> None:
    """What `launchdarkly-server-sdk-ai` reads from the same flag gives the same chat model."""
    what = {"maxTokens": 50, "tools": [{"name": "search"}]}

    made = create_chat_model(make_official_config(flag("llama3.2", "Ollama", **what)))

    assert constructor_arguments(made) == constructor_arguments(
        create_chat_model(make_config("llama3.2", "Ollama", **what))
    )
    assert (made.model, made.num_predict) == ("llama3.2", 50)


@pytest.mark.parametrize("payload", [{}, {"model": {"name": "small-1"}}], ids=["no-model", "no-parameters"])
def test_the_official_sdk_may_know_nothing(payload: dict[str, Any]) -> None:
    """Where the official SDK has `None` for model, provider or parameters, the overrides say all."""
    config = make_official_config({"_ldMeta": {"enabled": True}, **payload})

    made = create_chat_model(config, model="llama3.2", model_provider="ollama")

    assert constructor_arguments(made) == constructor_arguments(
        create_chat_model(make_config("llama3.2", "ollama"))
    )


def test_the_config_stays_as_it_was() -> None:
    """A model gets copies: changing what it holds changes no AI Config, of this package or of the official one."""
    parameters = {"reasoning": {"user": {"id": 1}}, "stop": ["END"]}
    ours = make_config("gpt-4.1", "openai", **parameters)
    theirs = make_official_config(flag("gpt-4.1", "openai", **parameters))

    for config in (ours, theirs):
        made = create_chat_model(config)
        made.reasoning["user"]["id"] = 2
        made.stop.append("STOP")

    unchanged = {"reasoning": {"user": {"id": 1}}, "stop": ["END"]}
    assert ours.model.parameters == unchanged
    assert theirs.model.to_dict()["parameters"] == unchanged


def test_tools_and_arguments_of_init_chat_model_are_not_parameters() -> None:
    """Tools are for `bind_tools`, and parameters do not say how the model is made."""
    unwanted = {"model": "a", "model_provider": "b", "configurable_fields": "any", "config_prefix": "c"}
    config = make_config("llama3.2", "ollama")
    parameters = {"tools": [{"name": "search"}], **unwanted}

    made = create_chat_model(replace(config, model=ModelConfig("llama3.2", parameters)))

    assert constructor_arguments(made) == constructor_arguments(create_chat_model(config))


def test_no_value_is_no_parameter() -> None:
    """`None` is left out, so that the class's own default holds; as an override it takes a served value out."""
    config = make_config("mistral-small", "mistral", temperature=None, topP=0.5, maxTokens=50)

    made = create_chat_model(config, max_tokens=None)

    assert (made.temperature, made.top_p, made.max_tokens) == (0.7, 0.5, None)


def test_a_harmless_parameter_is_the_providers_to_judge() -> None:
    """What the class does not know, and cannot do harm, goes to the class all the same."""
    with pytest.warns(UserWarning, match="min_p is not default parameter"):
        made = create_chat_model(make_config("gpt-4.1", "OpenAI", minP=0.1))

    assert made.model_kwargs == {"min_p": 0.1}


@pytest.mark.parametrize("name", ["num_predict", "max_tokens", "maxTokens"])
def test_overrides_win_by_whichever_name(name: str) -> None:
    """An override and a parameter meet under the name that the class has for both."""
    config = make_config("llama3.2", "Ollama", maxTokens=50, temperature=0.5)

    made = create_chat_model(config, **{name: 9}, temperature=0)

    assert (made.num_predict, made.temperature) == (9, 0)


@pytest.mark.parametrize(
    ("overrides", "class_name", "model"),
    [
        ({"model": "llama3.3:70b"}, "ChatOllama", "llama3.3:70b"),
        ({"model": "mistral:7b"}, "ChatOllama", "mistral:7b"),
        ({"model": "groq:llama-3"}, "ChatGroq", "llama-3"),
        ({"model_provider": "groq"}, "ChatGroq", "llama3.2"),
        ({"model_provider": "google-genai", "model": "gemini"}, "ChatGoogleGenerativeAI", "gemini"),
        ({"model_provider": None, "model": "gpt-4.1"}, "ChatOpenAI", "gpt-4.1"),
        ({"model_provider": "bedrock", "model": BEDROCK_MODEL}, "ChatBedrock", BEDROCK_MODEL),
    ],
)
def test_the_model_and_its_provider_can_be_overridden(
    overrides: dict[str, Any], class_name: str, model: str
) -> None:
    """As for `init_chat_model`, a name may have its provider before it, and `None` infers the provider."""
    made = create_chat_model(make_config("llama3.2", "Ollama"), **overrides)

    assert class_and_model_name(made) == (class_name, model)


def test_a_model_behind_an_arn_is_of_the_family_served() -> None:
    """An ARN does not say whose model it is, without which Bedrock's class refuses it; the AI Config does."""
    made = create_chat_model(make_config(BEDROCK_ARN, "Bedrock:Anthropic"))

    assert (made.model_id, made.provider) == (BEDROCK_ARN, "anthropic")


@pytest.mark.parametrize(
    ("model", "name", "class_name"),
    [("gpt-4.1", "gpt-4.1", "ChatOpenAI"), ("ollama:llama3.2:1b", "llama3.2:1b", "ChatOllama")],
)
def test_a_provider_that_is_not_served_is_inferred(model: str, name: str, class_name: str) -> None:
    """LangChain knows some models' providers by their names, or is told before a colon."""
    assert class_and_model_name(create_chat_model(make_config(model))) == (class_name, name)


@pytest.mark.parametrize("provider", ["acme", "OpenAI:gpt", "!", "a" * 500], ids=len)
def test_an_unknown_provider_is_named(provider: str) -> None:
    """The error quotes the value, shortened, and says what to do and which providers there are."""
    with pytest.raises(ValueError, match="AI Config 'support-bot' names the provider") as refused:
        create_chat_model(make_config("small-1", provider))

    message = str(refused.value)
    assert repr(provider[:12])[:-1] in message
    assert "pass model_provider=" in message
    assert all(name in message for name in LANGCHAIN_PROVIDERS)
    assert len(message) < 700


def test_a_missing_model_is_said_to_be() -> None:
    """The error names the AI Config and the remedy, which works."""
    config = make_config(" ", "ollama")

    with pytest.raises(ValueError, match=r"^AI Config 'support-bot' names no model: .* pass model=$"):
        create_chat_model(config)

    assert create_chat_model(config, model="llama3.2").model == "llama3.2"


def test_a_disabled_ai_config_without_a_model_is_said_to_be() -> None:
    """Where LaunchDarkly serves nothing, the error says that the AI Config is disabled and what to ask first."""
    config = LdAiClient(RecordingClient()).completion_config("support-bot", USER)

    with pytest.raises(ValueError, match=r"^AI Config 'support-bot' is disabled .*: ask config.enabled before"):
        create_chat_model(config)

    assert create_chat_model(config, model="ollama:llama3.2").model == "llama3.2"


def test_an_ai_config_that_was_not_awaited_is_told() -> None:
    """What `AsyncLdAiClient` returns is awaited first."""
    asked = AsyncLdAiClient(AsyncRecordingClient()).completion_config("support-bot", USER)

    with pytest.raises(TypeError, match="not coroutine: await it first"):
        create_chat_model(asked)
    asked.close()


def test_a_provider_that_cannot_be_inferred_is_asked_for() -> None:
    """Where the model's name does not tell the provider, the error names the AI Config and the remedy."""
    with pytest.raises(ValueError, match=r"^AI Config 'support-bot' names no provider, .*'small-1': .*provider=$"):
        create_chat_model(make_config("small-1"))


def test_what_a_provider_refuses_is_traced_to_the_ai_config() -> None:
    """The provider's own error goes through, with a note that says which AI Config it is about."""
    with pytest.raises(ValueError, match="temperature") as refused:
        create_chat_model(make_config("gpt-4.1", "OpenAI", temperature="hot"))

    assert refused.value.__notes__ == ["while making the chat model of AI Config 'support-bot'"]


def test_what_is_no_ai_config_is_refused() -> None:
    """A key instead of the AI Config is a mistake of the caller."""
    with pytest.raises(
        TypeError,
        match=r"^config is an AI Config \(it has key, model and provider\), not str: give what .* returns",
    ):
        create_chat_model("support-bot")


def test_the_config_of_a_run_that_is_not_counted_makes_no_model() -> None:
    """Who passes on what `current_config()` returned learns why it was `None`."""
    with pytest.raises(
        TypeError, match=r"not NoneType: current_config\(\) returned None: this run is not counted"
    ):
        create_chat_model(None)


def test_a_missing_providers_package_is_named() -> None:
    """Without the package of the provider, LangChain's own error says what to install."""
    with pytest.raises(ImportError, match=r"pip install .*langchain-cohere"):
        create_chat_model(make_config("command-r", "Cohere"))


def test_without_langchain_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not installed the extra is told its name."""
    monkeypatch.delitem(sys.modules, "langchain_ldai.chat_models")
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)

    with pytest.raises(ImportError, match=r'pip install "langchain-ldai\[langchain\]"'):
        importlib.import_module("langchain_ldai.chat_models")


def test_a_run_of_the_model_is_counted_and_is_no_drift(
    reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The model made from an AI Config runs, its tokens are counted, and it is the model that was served."""
    client = RecordingClient({"support-bot": flag("gpt-4.1-mini", "OpenAI", maxTokens=50)})
    config = LdAiClient(client).completion_config("support-bot", USER)
    handler = LdAiHandler(config, on_run_end=reports.append)

    with serving(body("openai/answer.json")) as url:
        model = create_chat_model(config, base_url=f"{url}/v1", max_retries=0)
        model.invoke("Hi", {"callbacks": [handler]})

    (report,) = reports
    assert report.models == ("gpt-4.1-mini",)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}
    assert [record for record in caplog.records if record.name.startswith("langchain_ldai")] == []
