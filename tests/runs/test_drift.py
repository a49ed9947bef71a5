"""The log and the report say when another model runs than the AI Config serves."""

import pytest
from langchain_core.messages import AIMessageChunk
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai._runs.model_names import same_model
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, chain
from tests.support.models import HELLO, NamedChat, ScriptedChat


def test_another_model_is_named_once(
    handler: LdAiHandler, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """One warning a pair of models, however many runs; every report has the models that ran."""
    for _ in range(2):
        chain(NamedChat(name_to_tell="large-2")).invoke(QUESTION, {"callbacks": [handler]})

    assert [report.models for report in reports] == [("large-2",)] * 2
    (record,) = caplog.records
    assert record.message == (
        "AI Config 'support-bot' serves model 'small-1', but 'large-2' is called: "
        "make the model with create_chat_model(config)"
    )


def test_a_name_without_latin_letters_is_not_the_missing_name_of_an_answer(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the answer names no model, the one that the call names is another."""
    flag = {"_ldMeta": {"enabled": True}, "model": {"name": "通义千问"}}
    config = LdAiClient(RecordingClient({"support-bot": flag})).completion_config("support-bot", context)

    chain(NamedChat(name_to_tell="large-2")).invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    assert [record.args[2] for record in caplog.records] == ["large-2"]


@pytest.mark.parametrize("told", [{"model_name": "small-1"}, {"model_name": "", "model": "small-1"}], ids=str)
def test_a_model_that_tells_its_name_at_the_end_is_known(
    told: dict[str, str], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Where the start does not say which model is called, the result may (fact 84)."""
    said = AIMessageChunk("Hello", response_metadata=told)

    ScriptedChat(script=[[said]]).invoke("How?", {"callbacks": [handler]})

    assert [report.models for report in reports] == [("small-1",)]


def test_another_model_that_tells_its_name_at_the_end_is_named(
    handler: LdAiHandler, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """Until then it may be the one that is served."""
    said = AIMessageChunk("Hello", response_metadata={"model_name": "large-2"})

    ScriptedChat(script=[[said]]).invoke("How?", {"callbacks": [handler]})

    assert [report.models for report in reports] == [("large-2",)]
    assert [record.args[2] for record in caplog.records] == ["large-2"]


def test_the_model_served_is_no_drift(
    handler: LdAiHandler, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The model that the AI Config serves, dated or not, is no cause for a warning."""
    for name in ("small-1", "small-1-2026-01-31"):
        chain(NamedChat(name_to_tell=name)).invoke(QUESTION, {"callbacks": [handler]})

    assert [report.models for report in reports] == [("small-1",), ("small-1-2026-01-31",)]
    assert caplog.records == []


def test_a_config_that_names_no_model_cannot_drift(
    client: RecordingClient, context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """Without a model in the AI Config there is nothing to compare."""
    config = LdAiClient(client).completion_config("no-such-flag", context)
    caplog.clear()

    said = AIMessageChunk("Hello", response_metadata={"model_name": "large-2"})
    for model in (NamedChat(name_to_tell="large-2"), ScriptedChat(script=[[said]])):
        chain(model).invoke(QUESTION, {"callbacks": [LdAiHandler(config, on_run_end=reports.append)]})

    assert [report.models for report in reports] == [("large-2",)] * 2
    assert caplog.records == []


@pytest.mark.parametrize(
    ("served", "called", "same"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "GPT-4o-2024-08-06", True),
        ("gpt-4o", "openai/gpt-4o", True),
        ("gemini-2.0-flash", "models/gemini-2.0-flash", True),
        ("claude-3-5-sonnet", "us.anthropic.claude-3-5-sonnet-20240620-v1:0", True),
        ("claude-3-5-sonnet-20240620", "claude-3-5-sonnet", True),
        ("claude-3-5-sonnet", "claude-3-5-sonnet-latest", True),
        ("gpt-4", "gpt-4-0613", True),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True),
        ("openai:gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-3.5-turbo-0125", "gpt-35-turbo", True),
        ("models/gemini-2.0-flash", "gemini-2.0-flash-001", True),
        ("publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash-05-20", True),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022", True),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022-v2:0", True),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "eu.anthropic.claude-3-5-sonnet-20241022-v2:0", True),
        ("claude-3-5-sonnet-v2@20241022", "anthropic.claude-3-5-sonnet-20241022-v2:0", True),
        ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet-20241022", True),
        (
            "claude-3-haiku",
            "arn:aws:bedrock:eu::foundation-model/anthropic.claude-3-haiku-20240307-v1:0:48k",
            True,
        ),
        ("openai.gpt-oss-120b-1:0", "gpt-oss-120b", True),
        ("mistral.mistral-7b-instruct-v0:2", "mistral-7b-instruct-v0.2", True),
        ("accounts/fireworks/models/llama-v3p1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("meta.llama3-3-70b-instruct-v1:0", "meta-llama/Llama-3.3-70B-Instruct", True),
        ("mistral-large-latest", "mistral-large-2411", True),
        ("command-r-08-2024", "cohere/command-r", True),
        ("deepseek/deepseek-r1:free", "deepseek-r1", True),
        ("llama3.2", "ollama/llama3.2:latest", True),
        ("ft:gpt-4o:org::id", "ft:gpt-4o-2024-08-06:org::id", True),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4", "gpt-4-32k", False),
        ("gpt-4", "gpt-4.1", False),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", False),
        ("gpt-4o", "ft:gpt-4o:org::id", False),
        ("ft:gpt-4o:org::one", "ft:gpt-4o:org::two", False),
        ("o1", "o1-mini", False),
        ("claude-3-5-sonnet", "claude-3-5-haiku", False),
        ("claude-sonnet-4", "claude-sonnet-4-5", False),
        ("gemini-2.0-flash", "gemini-2.0-flash-lite", False),
        ("gemini-1.5-pro-001", "gemini-1.5-pro-002", False),
        ("mistral-7b-instruct-v0:2", "mistral-7b-instruct-v0.3", False),
        ("meta-llama/Llama-3.3-70B", "meta-llama/Llama-3.1-70B", False),
        ("llama3.2", "llama3.2:1b", False),
        ("gemma:7b", "mistral:7b", False),
        ("deepseek-v3", "deepseek-v3.1", False),
    ],
)
def test_names_of_one_model_are_told_from_names_of_two(served: str, called: str, same: bool) -> None:
    """A vendor before a name, or a date or version behind it, is the same model; anything else is not."""
    assert (same_model(served, called), same_model(called, served)) == (same, same)


@pytest.mark.parametrize(
    ("answered", "warnings"),
    [("small-1-2026-01-31", 0), ("large-2", 1), (None, 1)],
    ids=["served", "other", "silent"],
)
def test_a_deployment_is_known_by_what_it_answers(
    answered: str | None, warnings: int, handler: LdAiHandler, reports: list[RunReport], caplog
) -> None:
    """A deployment's name, or an alias, is no drift where its answer names the model that is served."""
    said = AIMessageChunk("Hello", response_metadata={"model_name": answered} if answered else {})
    model = NamedChat(script=[[said]], name_to_tell="prod-deployment")

    model.invoke("How?", {"callbacks": [handler]})

    assert [record.args[2] for record in caplog.records] == ["prod-deployment"] * warnings
    assert reports[0].models == ("prod-deployment",)


def test_a_failed_call_of_another_model_is_named(handler: LdAiHandler, caplog: pytest.LogCaptureFixture) -> None:
    """A model that fails has been called all the same."""
    with pytest.raises(ConnectionError):
        NamedChat(script=[ConnectionError()], name_to_tell="large-2").invoke("How?", {"callbacks": [handler]})

    assert [record.args[2] for record in caplog.records] == ["large-2"]


def test_a_fallback_is_no_cause_for_a_warning(handler: LdAiHandler, caplog: pytest.LogCaptureFixture) -> None:
    """A model that is called after the served one has failed is meant: the log tells it at INFO, once."""
    caplog.set_level("INFO")
    served = NamedChat(script=[ConnectionError(), ConnectionError(), HELLO], name_to_tell="small-1")
    other = NamedChat(name_to_tell="large-2")

    for _ in range(2):
        chain(served.with_fallbacks([other])).invoke(QUESTION, {"callbacks": [handler]})

    (record,) = caplog.records
    assert (record.levelname, record.message) == (
        "INFO",
        "AI Config 'support-bot' serves model 'small-1'; a call failed, and 'large-2' is called, "
        "which counts for what was served",
    )


def test_a_model_that_is_called_without_a_failure_is_told_of_although_it_was_a_fallback(
    handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """In the one run it was meant; in the other it runs in the place of the served model."""
    caplog.set_level("INFO")
    served = NamedChat(script=[ConnectionError()], name_to_tell="small-1")
    other = NamedChat(name_to_tell="large-2")

    for model in (served.with_fallbacks([other]), other):
        chain(model).invoke(QUESTION, {"callbacks": [handler]})

    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_a_name_that_is_no_text_names_no_model(
    handler: LdAiHandler, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """What a model tells LangChain of itself may be anything."""
    NamedChat.model_construct(name_to_tell=5, script=[HELLO]).invoke("How?", {"callbacks": [handler]})

    assert [report.models for report in reports] == [()]
    assert caplog.records == []
