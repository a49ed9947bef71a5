"""A parameter arrives under the name that LangChain has for it, by whichever spelling it is served."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from langchain_ldai import ModelConfig, chat_models
from langchain_ldai.chat_models import create_chat_model
from tests.chat_models.test_parameters import constructor_arguments, fields_of, make_configs


def camel(name: str) -> str:
    """Return a name as JavaScript writes it."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def capitals(name: str) -> str:
    """Return a name as C# writes it."""
    return "".join(map(str.capitalize, name.split("_")))


SPELLINGS: Final[dict[str, Callable[[str], str]]] = {
    "camel": camel,
    "capitals": capitals,
    "kebab": lambda name: name.replace("_", "-"),
    "upper": str.upper,
    "joined": lambda name: name.replace("_", ""),
    "spaced": lambda name: name.replace("_", " "),
}
KNOWN: Final = tuple(chat_models._HARMLESS.split())


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("provider", ["OpenAI", "Ollama", "Mistral"])
def test_every_known_parameter_has_one_name(
    provider: str, spell: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LangChain is given the same arguments for each spelling of each parameter that is let through."""
    monkeypatch.setattr(chat_models, "init_chat_model", lambda **arguments: arguments)
    assert len(KNOWN) > 80

    config = make_configs(provider)[0]
    for name in KNOWN:
        plain, spelled = (
            create_chat_model(replace(config, model=ModelConfig("any", {each: 1}))) for each in (name, spell(name))
        )
        assert spelled == plain
        assert len(plain) == 3


FIELDS: Final[dict[str, dict[str, Any]]] = {
    "OpenAI": {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "n": 1,
        "logit_bias": {1: 2},
        "logprobs": True,
        "top_logprobs": 2,
        "frequency_penalty": 0.2,
        "presence_penalty": 0.1,
        "max_tokens": 50,
        "stop": ["END"],
        "truncation": "auto",
        "reasoning": {"effort": "low"},
        "reasoning_effort": "low",
        "verbosity": "low",
        "service_tier": "flex",
        "prompt_cache_options": {"a": 1},
        "context_management": [{"a": 1}],
        "include": ["a"],
        "store": False,
        "use_responses_api": False,
        "request_timeout": 5.0,
        "max_retries": 1,
        "streaming": True,
        "stream_usage": True,
        "disable_streaming": True,
    },
    "Anthropic": {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 2048,
        "stop_sequences": ["END"],
        "reasoning_effort": "low",
        "thinking": {"type": "adaptive"},
        "output_config": {"a": 1},
        "context_management": {"a": 1},
        "max_retries": 1,
        "streaming": True,
        "stream_usage": False,
        "disable_streaming": True,
    },
    "Ollama": {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "tfs_z": 0.5,
        "mirostat": 1,
        "mirostat_eta": 0.5,
        "mirostat_tau": 0.5,
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 2,
        "repeat_penalty": 1.5,
        "repeat_last_n": 3,
        "num_predict": 50,
        "num_ctx": 4096,
        "stop": ["END"],
        "reasoning": True,
        "format": "json",
        "keep_alive": "5m",
        "num_gpu": 1,
        "num_thread": 2,
        "disable_streaming": True,
    },
}
SECOND_NAMES: Final[dict[str, set[str]]] = {
    "OpenAI": {"max_completion_tokens", "stop_sequences", "timeout"},
    "Anthropic": {"max_tokens_to_sample", "stop", "effort", "timeout"},
    "Ollama": set(),
}
"""What a class takes as another name of one of its fields."""


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("provider", FIELDS)
def test_the_field_is_set(provider: str, spell: Callable[[str], str]) -> None:
    """The class's own field takes the value, and nothing under an odd name is sent with each call."""
    known = set(KNOWN) & fields_of(provider).keys()
    fields = {name: value for name, value in FIELDS[provider].items() if name in known}  # older ones have fewer
    assert known <= FIELDS[provider].keys() | SECOND_NAMES[provider]
    assert len(fields) > 10

    made = create_chat_model(make_configs(provider, {spell(name): value for name, value in fields.items()})[0])

    assert {name: getattr(made, name) for name in fields} == fields
    assert getattr(made, "model_kwargs", {}) == {}


@pytest.mark.parametrize("provider", FIELDS)
def test_what_a_class_has_no_field_for_has_langchains_name_too(provider: str) -> None:
    """A class that takes what it does not know takes it as others call it."""
    with warnings.catch_warnings(action="ignore"):
        made = create_chat_model(make_configs(provider, {"response-format": {"type": "text"}})[0])

    assert "response-format" not in constructor_arguments(made)
    assert getattr(made, "model_kwargs", {}).keys() <= {"response_format"}


TWICE: Final = {
    "exact-first": ("OpenAI", {"max_tokens": 1, "maxTokens": 2, "maxCompletionTokens": 3}, "max_tokens", 1),
    "exact-last": ("OpenAI", {"maxCompletionTokens": 3, "maxTokens": 2, "max_tokens": 1}, "max_tokens", 1),
    "none-is-exact": ("OpenAI", {"maxTokens": 2, "MAX_TOKENS": 3}, "max_tokens", 3),
    "providers-own": ("Ollama", {"num_predict": 1, "max_tokens": 2, "maxTokens": 3}, "num_predict", 1),
    "common": ("Ollama", {"max_tokens": 2, "maxTokens": 3}, "num_predict", 2),
}


@pytest.mark.parametrize(("provider", "served", "field", "value"), TWICE.values(), ids=TWICE)
def test_langchains_name_counts_before_another_spelling(
    provider: str, served: dict[str, int], field: str, value: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The order in which the spellings are served decides only between odd ones, and one warning names them."""
    for config in make_configs(provider, served, key=f"twice-{field}-{value}-{list(served)}") * 2:
        assert getattr(create_chat_model(config), field) == value

    (record,) = [record for record in caplog.records if record.name.startswith("langchain_ldai")]
    chosen = next(name for name in served if served[name] == value)
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith(f": only {chosen!r} counts")
    assert all(repr(name) in record.getMessage() for name in served)


def test_a_spelling_without_a_value_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    """`None` is no value, also under LangChain's own name."""
    made = create_chat_model(make_configs("OpenAI", {"max_tokens": None, "maxTokens": 5})[0])

    assert made.max_tokens == 5
    assert [record for record in caplog.records if record.name.startswith("langchain_ldai")] == []


def test_an_override_wins_by_any_spelling() -> None:
    """A caller's odd spelling is the parameter too, and not another one beside it."""
    made = create_chat_model(make_configs("OpenAI", {"serviceTier": "flex"})[0], ServiceTier="auto")

    assert (made.service_tier, made.model_kwargs) == ("auto", {})
