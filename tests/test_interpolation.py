"""Mustache tags in prompts: what they reach, and what they do not (spec section 3)."""

import logging
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldclient import Context

from langchain_ldai import (
    LdAiAgentConfigDefault,
    LdAiClient,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfigDefault,
    Message,
)
from langchain_ldai.testing import RecordingClient
from tests.support.both import both_clients

CONTEXT = Context.builder("user-1").set("tags", ["a", "b"]).set("plan", {"name": "gold"}).build()
LOG = "langchain_ldai.interpolation"
SECRET = "s3cret"


@dataclass
class Account:
    """An application's object, with a text form of its own."""

    secret: str = SECRET
    called: int = 0

    def reveal(self) -> str:
        """Count a call that no template may make."""
        self.called += 1
        return SECRET

    def __call__(self, *args: object) -> str:
        """Count a call that no template may make."""
        return self.reveal()

    def __str__(self) -> str:
        return "an account"


def flag(text: str, mode: str = "completion") -> dict[str, object]:
    """Return a flag whose only text is this one."""
    meta = {"enabled": True, "mode": mode}
    return {"_ldMeta": meta, "instructions": text, "messages": [{"role": "system", "content": text}]}


def rendered(text: str, variables: dict[str, object] | None = None, context: Context = CONTEXT) -> str:
    """Return a text as a completion config has it."""
    ai = LdAiClient(RecordingClient({"chat": flag(text)}))
    [message] = ai.completion_config("chat", context, variables=variables).messages
    return message.content


@pytest.mark.parametrize(
    "tag",
    [
        "account.secret",
        "account.reveal",
        "account.__dict__",
        "account.__class__",
        "text.upper",
        "text.__class__",
        "number.real",
        "mapping.keys",
        "mapping.items",
        "mapping.__class__",
        "listing.append",
        "listing.__len__",
        "listing.-",
        "ldctx.__class__",
        "ldctx.key.upper",
        "__class__",
        "__builtins__",
    ],
)
@pytest.mark.parametrize("form", ["{{%s}}", "{{{%s}}}", "{{&%s}}", "{{#%s}}reached{{/%s}}"])
def test_no_attribute_and_no_method_is_reached(tag, form):
    """A tag reaches mapping keys and list items, and nothing else of Python."""
    account = Account()
    variables = {"account": account, "text": "abc", "number": 1, "mapping": {"a": account}, "listing": [account]}

    assert rendered(f"({form.replace('%s', tag)})", variables) == "()"
    assert account.called == 0


@pytest.mark.parametrize("path", ["f", "m.f", "l.0", "m.l.0.f"])
def test_no_function_is_called(path):
    """A callable among the variables, however deep, is a value like others: a section does not call it."""
    account = Account()
    variables = {"f": account, "m": {"f": account, "l": ({"f": account},)}, "l": [account]}

    assert rendered(f"{{{{#{path}}}}}x{{{{/{path}}}}} {{{{{path}}}}}", variables) == "x an account"
    assert account.called == 0


@pytest.mark.parametrize("tag", ["{{> footer}}", "{{>footer}}", "{{> ./footer}}", "{{>footer.mustache}}"])
def test_no_file_is_read(tmp_path, monkeypatch, tag):
    """A partial is empty, also where a file of its name is at hand."""
    for name in ("footer", "footer.mustache"):
        (tmp_path / name).write_text(SECRET)
    monkeypatch.chdir(tmp_path)

    assert rendered(f"a{tag}b", {"footer": SECRET}) == "ab"


def test_a_value_is_not_rendered_again():
    """A value that looks like a tag stays as it is: users do not write templates (spec section 3)."""
    variables = {"x": "{{y}}{{{ldctx.key}}}{{#y}}", "y": SECRET, "m": {"x": ["{{y}}"]}}

    assert rendered("{{{x}}} {{#m.x}}{{.}}{{/m.x}}", variables) == "{{y}}{{{ldctx.key}}}{{#y}} {{y}}"


@pytest.mark.parametrize(
    ("value", "text"),
    [((1, 2), "[1, 2]"), ({"a": None}, "{'a': None}"), (Account(), "an account"), (b"x", "b'x'")],
    ids=["tuple", "mapping", "object", "bytes"],
)
def test_other_values_have_their_text_form(value, text):
    """A value that is not JSON is shown as its text; lists and mappings as Python shows them."""
    assert rendered("{{x}}", {"x": value}) == text


def test_the_context_takes_the_place_of_a_variable_of_its_name():
    """`ldctx` is the evaluation's context, whatever the caller calls so."""
    text = "{{ldctx.kind}} {{ldctx.key}} {{ldctx.name}} {{ldctx.tags.1}} {{ldctx.plan.name}} {{ldctx.mine}}"

    assert rendered(text, {"ldctx": {"key": "fake", "mine": "fake"}}) == "user user-1  b gold "


def test_a_context_of_several_kinds_has_one_member_for_each():
    """Several kinds: `multi`, the fully qualified key, and a member for each kind (spec section 3)."""
    context = Context.create_multi(CONTEXT, Context.builder("acme").kind("org").anonymous(True).build())
    text = "{{ldctx.kind}} {{ldctx.key}} {{ldctx.user.plan.name}} {{ldctx.org.key}} {{ldctx.org.anonymous}}"

    assert rendered(text, context=context) == "multi org:acme:user:user-1 gold acme True"


MALFORMED = {
    "unclosed": "{{x",
    "empty": "{{}}",
    "not-closed": "{{#x}}",
    "not-opened": "{{/x}}",
    "crossed": "{{#x}}{{#y}}{{/x}}{{/y}}",
    "delimiter": "{{=x}}",
    "too-deep": "{{#x}}" * 1200 + "{{/x}}" * 1200,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_text_stays_as_it_is(caplog, text):
    """What is no template keeps its raw text; one warning names the AI Config, and does not quote (spec 3)."""
    text = f"{SECRET} {text}"

    assert rendered(text, {"x": [{"y": 1}]}) == text
    [warning] = caplog.records
    assert (warning.name, warning.levelname) == (LOG, "WARNING")
    assert "'chat'" in caplog.text
    assert SECRET not in caplog.text


@both_clients
def test_templates_keep_their_tags(ask_of):
    """The `_template` calls leave the tags as they are, well-formed or not, in defaults too (spec 2, rule 15)."""
    text = "{{x}} {{ldctx.key}} {{"
    ask = ask_of({mode: flag(text, mode) for mode in ("completion", "agent", "judge")})

    for mode in ("completion", "judge"):
        assert ask(f"{mode}_config_template", mode, CONTEXT).messages == (Message("system", text),)
    assert ask("agent_config_template", "agent", CONTEXT).instructions == text
    defaults = {
        "completion": LdAiCompletionConfigDefault(messages=[Message("user", text)]),
        "agent": LdAiAgentConfigDefault(instructions=text),
        "judge": LdAiJudgeConfigDefault(messages=[Message("user", text)]),
    }
    for mode, default in defaults.items():
        config = ask(f"{mode}_config_template", "missing", CONTEXT, default)
        assert [message.content for message in config.to_messages()] == [text]


@both_clients
def test_a_judges_placeholders_are_reserved(ask_of, caplog):
    """A judge's two placeholders stay; a variable of such a name is ignored with a warning (spec 2, rule 16)."""
    text = "{{message_history}} {{{response_to_evaluate}}} {{x}}"
    ask = ask_of({"chat": flag(text, "judge")})

    config = ask("judge_config", "chat", CONTEXT, variables={"message_history": SECRET, "x": "ok"})

    assert config.messages == (Message("system", "{{message_history}} {{response_to_evaluate}} ok"),)
    [warning] = caplog.records
    assert "'message_history' is reserved" in warning.getMessage()
    assert SECRET not in caplog.text


def test_a_judge_keeps_no_message_of_the_older_form():
    """Messages with a placeholder go, unless they are the system's; also from a template (spec 2, rule 16)."""
    entries = [("system", "{{message_history}}"), ("user", "{{message_history}}"), ("assistant", "{{x}}")]
    entries += [("user", "a {{response_to_evaluate}}")]
    served = flag("", "judge") | {"messages": [{"role": role, "content": text} for role, text in entries]}
    ai = LdAiClient(RecordingClient({"chat": served}))

    for config in (ai.judge_config("chat", CONTEXT), ai.judge_config_template("chat", CONTEXT)):
        assert [message.role for message in config.messages] == ["system", "assistant"]


pieces = ["{{", "}}", "{{{", "}}}", "#", "^", "/", ">", "=", "&", "!", ".", "x", "x.y", "ldctx", " ", "\n"]
pieces += ["{{#x}}", "{{/x}}", "{{^y}}", "{{/y}}", "{{.}}", "{{=<% %>=}}", "<%", "%>"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.builds(Account),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.sampled_from(pieces), max_size=12).map("".join), st.dictionaries(st.sampled_from("xyz"), values)
)
def test_no_template_raises_or_reveals(text, variables):
    """Whatever the template and the variables, a text comes of it, and nothing of an object but its text form."""
    logging.getLogger(LOG).setLevel(logging.CRITICAL)
    try:
        assert SECRET not in rendered(text, variables)
    finally:
        logging.getLogger(LOG).setLevel(logging.NOTSET)


def test_a_variable_that_contains_itself_is_named() -> None:
    """Variables without an end are refused with a message, not with a `RecursionError`."""
    endless: dict[str, object] = {}
    endless["self"] = endless

    with pytest.raises(ValueError, match="a variable for AI Config 'chat' contains itself"):
        rendered("no tags", {"endless": endless})
