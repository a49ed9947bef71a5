"""What a judge's model is shown of question and answer."""

from collections.abc import Mapping

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, Message
from langchain_ldai._configs.payload import PayloadReader
from langchain_ldai._configs.templates import renderer
from langchain_ldai.judges._prompts import FORMAT, Exchange, messages_for
from langchain_ldai.testing import RecordingClient
from tests.support.vectors import Case, cases, with_ids


def shown(
    payload: Mapping[str, object],
    exchange: Exchange,
    variables: Mapping[str, object] | None = None,
    *,
    is_structured: bool = False,
) -> tuple[Message, ...]:
    """Return the messages that the model of a judge of this payload gets."""
    context = Context.create("user-1")
    config = LdAiClient(RecordingClient({"acc": payload})).judge_config_template("acc", context)

    def prompt(render):
        return PayloadReader("acc", config._origin.sender, render).judge_prompt(payload)

    def make_render(more):
        return renderer("acc", context, {**(variables or {}), **more}, lambda key, name: None, {})

    return messages_for(exchange, prompt, make_render, is_structured=is_structured)


def judge_of(*messages: tuple[str, object]) -> dict[str, object]:
    """Return the payload of a judge of these messages."""
    return {
        "_ldMeta": {"enabled": True, "mode": "judge"},
        "messages": [{"role": role, "content": content} for role, content in messages],
    }


@pytest.mark.parametrize("case", with_ids(cases("judges", "shown")))
def test_a_judge_is_shown_the_exchange(case: Case) -> None:
    """In each layout of its messages, a judge sees question and answer, and is told the form of its answer."""
    exchange = Exchange(str(case["question"]), str(case["answer"]), str(case.get("trajectory", "")))

    messages = shown(case["judge_config"], exchange)

    written = [{"role": each.role, "content": each.content.replace(FORMAT, "<FORMAT>")} for each in messages]
    assert {"messages": written} == case["expected"]


def test_the_history_is_question_trajectory_answer_and_format() -> None:
    """`message_history` holds what there is of them, with blank lines between."""
    judge = judge_of(("user", "{{message_history}}"))

    (with_tools,) = shown(judge, Exchange("Q", "A", "<TRAJECTORY>"))
    (without,) = shown(judge, Exchange("", "A"))

    assert with_tools.content == f"Q\n\n<TRAJECTORY>\n\nA\n\n{FORMAT}"
    assert without.content == f"A\n\n{FORMAT}"


def test_structured_output_needs_no_word_of_the_format() -> None:
    """A model that is asked for structured output is not told the form of its answer."""
    exchange = Exchange("Q", "A")

    assert FORMAT not in shown(judge_of(("system", "Rate.")), exchange, is_structured=True)[-1].content
    assert shown(judge_of(("user", "{{response_to_evaluate}}")), exchange, is_structured=True)[-1].content == "A"


def test_a_judge_without_messages_or_instructions_has_no_prompt() -> None:
    """Nothing is shown where there is nothing to follow."""
    assert shown({"_ldMeta": {"enabled": True, "mode": "judge"}}, Exchange("Q", "A")) == ()


def test_an_exchange_is_filled_in_as_it_is() -> None:
    """Question and answer are inserted once, with nothing escaped, and no value is searched for placeholders."""
    judge = judge_of(("user", "{{who}}|{{input}}|{{{response_to_evaluate}}}|{{#input}}asked{{/input}}"))

    (message,) = shown(
        judge, Exchange("<{{response_to_evaluate}}>", "<{{input}}>"), {"who": "{{message_history}}"}
    )

    expected = "{{message_history}}|<{{response_to_evaluate}}>|<{{input}}>|asked"
    assert message.content == f"{expected}\n\n{FORMAT}"


def test_a_question_that_is_empty_is_none() -> None:
    """A section for the question is left out then."""
    (message,) = shown(judge_of(("user", "{{#input}}asked{{/input}}{{response_to_evaluate}}")), Exchange("", "A"))

    assert message.content == f"A\n\n{FORMAT}"


def test_a_system_message_at_the_end_hides_no_message_of_the_user() -> None:
    """The answer is added only where no message of the user's is the last but those of the system."""
    judge = judge_of(("user", "Rate {{response_to_evaluate}}"), ("system", "Be strict."))

    assert [each.role for each in shown(judge, Exchange("Q", "A"))] == ["user", "system"]


def test_a_text_that_is_no_template_keeps_its_placeholders() -> None:
    """A text that mustache cannot read is used as it is, but for the placeholders in it."""
    (message,) = shown(judge_of(("user", "{{#open}} {{response_to_evaluate}}")), Exchange("Q", "A"))

    assert message.content == f"{{{{#open}}}} A\n\n{FORMAT}"


def test_blocks_are_filled_in_too() -> None:
    """A message of text and images keeps its images, and its texts show the exchange."""
    image = {"type": "image", "url": "https://example.com/a.png"}
    judge = judge_of(("user", [{"type": "text", "text": "Rate {{response_to_evaluate}}"}, image]))

    (message,) = shown(judge, Exchange("Q", "A"))

    texts = [{"type": "text", "text": "Rate A"}, image, {"type": "text", "text": FORMAT}]
    assert (message.content, list(message.blocks)) == (f"Rate A\n\n{FORMAT}", texts)
