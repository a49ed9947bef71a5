"""Which values a mustache tag in a prompt can reach, and which it cannot (spec section 3)."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
from tests.support.call_both_clients import both_clients

CONTEXT = Context.builder("user-1").set("tags", ["a", "b"]).set("plan", {"name": "gold"}).build()
LOG = "langchain_ldai._configs.templates"
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


MISSING = (
    "is not among the variables, and its place in the text is left empty. Pass it in variables=; "
    "attributes of the context are named as in {{ldctx.name}}"
)


def render(text: str, variables: dict[str, object] | None = None, context: Context = CONTEXT) -> str:
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

    assert render(f"({form.replace('%s', tag)})", variables) == "()"
    assert account.called == 0


@pytest.mark.parametrize("path", ["f", "m.f", "l.0", "m.l.0.f"])
def test_no_function_is_called(path):
    """A callable among the variables, however deep, is a value like others: a section does not call it."""
    account = Account()
    variables = {"f": account, "m": {"f": account, "l": ({"f": account},)}, "l": [account]}

    assert render(f"{{{{#{path}}}}}x{{{{/{path}}}}} {{{{{path}}}}}", variables) == "x an account"
    assert account.called == 0


@pytest.mark.parametrize("tag", ["{{> footer}}", "{{>footer}}", "{{> ./footer}}", "{{>footer.mustache}}"])
def test_no_file_is_read(tmp_path, monkeypatch, tag):
    """A partial is empty, also where a file of its name is at hand."""
    for name in ("footer", "footer.mustache"):
        (tmp_path / name).write_text(SECRET)
    monkeypatch.chdir(tmp_path)

    assert render(f"a{tag}b", {"footer": SECRET}) == "ab"


def test_a_value_is_not_rendered_again():
    """A value that looks like a tag stays as it is: users do not write templates (spec section 3)."""
    variables = {"x": "{{y}}{{{ldctx.key}}}{{#y}}", "y": SECRET, "m": {"x": ["{{y}}"]}}

    assert render("{{{x}}} {{#m.x}}{{.}}{{/m.x}}", variables) == "{{y}}{{{ldctx.key}}}{{#y}} {{y}}"


@pytest.mark.parametrize(
    ("value", "text"),
    [((1, 2), "[1, 2]"), ({"a": None}, "{'a': None}"), (Account(), "an account"), (b"x", "b'x'")],
    ids=["tuple", "mapping", "object", "bytes"],
)
def test_other_values_have_their_text_form(value, text):
    """A value that is not JSON is shown as its text; lists and mappings as Python shows them."""
    assert render("{{x}}", {"x": value}) == text


FALSY: list[object] = [False, 0, 0.0, "", None, [], {}, (), set()]


@pytest.mark.parametrize("value", [*FALSY, True, 5, "text", ["x"], {"c": "x"}], ids=repr)
@pytest.mark.parametrize("form", ["{{%s}}", "{{{%s}}}", "{{&%s}}", "{{#%s}}reached{{/%s}}"])
def test_a_path_that_leads_nowhere_shows_nothing(value: object, form: str) -> None:
    """A value has no members but a mapping's keys and a list's places, however false it is."""
    context = Context.builder("user-1").set("a", value if not isinstance(value, (set, tuple)) else None).build()
    variables = {"a": value, "m": {"a": value}, "l": [value]}

    for path in ("a.b", "m.a.b", "m.a.b.c", "l.0.b", "ldctx.a.b", "ldContext.a.b"):
        assert render(f"[{form.replace('%s', path)}]", variables, context) == "[]"


@pytest.mark.parametrize("value", [*FALSY, "text"], ids=repr)
def test_an_outer_scope_does_not_mend_a_path(value: object) -> None:
    """Once a path's first name is found, the rest of it is not looked for in outer scopes."""
    variables = {"a": {"b": "outer"}, "inner": {"a": value}}

    assert render("{{a.b}} {{#inner}}[{{a.b}}]{{/inner}}", variables) == "outer []"


def test_falsy_items_are_items() -> None:
    """A section is repeated for each item, and shows it; within it, outer names are found."""
    variables = {"xs": [0, False, "", None, 0.0, {}, 1], "name": "Ada"}

    assert render("{{#xs}}({{.}}{{name}}){{/xs}}", variables) == "(0Ada)(FalseAda)(Ada)(Ada)(0.0Ada)(Ada)(1Ada)"


class Countdown:
    """An application's collection."""

    def __iter__(self) -> Iterator[int]:
        return iter((1, 0))

    def __str__(self) -> str:
        return "a countdown"


ITERABLES: dict[str, Callable[[], Iterable[object]]] = {
    "list": lambda: [1, 0],
    "tuple": lambda: (1, 0),
    "generator": lambda: (number for number in (1, 0)),
    "iterator": lambda: iter([1, 0]),
    "range": lambda: range(1, -1, -1),
    "deque": lambda: deque([1, 0]),
    "keys": lambda: {1: "a", 0: "b"}.keys(),
    "values": lambda: {"a": 1, "b": 0}.values(),
    "map": lambda: map(int, "10"),
    "object": Countdown,
}


@pytest.mark.parametrize("make", ITERABLES.values(), ids=ITERABLES)
def test_a_section_is_repeated_for_what_can_be_iterated_over(make: Callable[[], Iterable[object]]) -> None:
    """Any iterable is a list for a section, in each text of the AI Config, also where it can be read only once."""
    messages = [{"role": "user", "content": "{{#xs}}({{.}}){{/xs}}{{^xs}}none{{/xs}} {{xs.1}}"}] * 2
    ai = LdAiClient(RecordingClient({"chat": {**flag(""), "messages": messages}}))

    config = ai.completion_config("chat", CONTEXT, variables={"xs": make()})

    assert [message.content for message in config.messages] == ["(1)(0) 0"] * 2


@pytest.mark.parametrize("make", [set, frozenset, deque, str, list, dict, lambda: iter(()), lambda: {}.keys()])
def test_a_section_of_nothing_is_left_out(make: Callable[[], object]) -> None:
    """An iterable without items is as false as an empty list."""
    assert render("{{#xs}}some{{/xs}}{{^xs}}none{{/xs}}", {"xs": make()}) == "none"


def test_members_are_reached_in_any_iterable() -> None:
    """Of what an iterable gives, a template reaches mapping keys and items, as in a list, and no attributes."""
    people = ({"name": name, "account": Account()} for name in ("Ada", "Grace"))

    text = "{{#people}}{{name}}{{account.secret}};{{/people}}"

    assert render(text, {"people": people}) == "Ada;Grace;"


def test_an_iterable_is_not_read_unless_a_template_asks() -> None:
    """One without an end, or that costs a query, is left alone where it is no section, and shown as its text."""
    numbers = itertools.count(7)

    assert render("{{numbers}} {{c}} {{b}}", {"numbers": numbers, "c": Countdown(), "b": b"x"}) == (
        "count(7) a countdown b'x'"
    )
    assert next(numbers) == 7
    assert render("{{#b}}{{.}}{{/b}}", {"b": b"x"}) == "b'x'"


def test_the_context_takes_the_place_of_a_variable_of_its_name(caplog):
    """`ldctx` and `ldContext` are the context; a variable of such a name is ignored with a warning."""
    tags = ("kind", "key", "name", "tags.1", "plan.name", "mine")

    for name in ("ldctx", "ldContext"):
        caplog.clear()
        text = " ".join(f"{{{{{name}.{tag}}}}}" for tag in tags)
        assert render(text, {name: {"key": "fake", "mine": SECRET}}) == "user user-1  b gold "
        [warning] = caplog.records
        assert (warning.name, warning.levelname) == (LOG, "WARNING")
        assert f"AI Config 'chat': the variable '{name}' is reserved for the context" in warning.getMessage()
        assert SECRET not in caplog.text


def test_a_context_of_several_kinds_has_one_member_for_each():
    """Several kinds: `multi`, the fully qualified key, and a member for each kind (spec section 3)."""
    context = Context.create_multi(CONTEXT, Context.builder("acme").kind("org").anonymous(True).build())
    text = "{{ldctx.kind}} {{ldctx.key}} {{ldctx.user.plan.name}} {{ldctx.org.key}} {{ldctx.org.anonymous}}"

    for name in ("ldctx", "ldContext"):
        shown = render(text.replace("ldctx", name), context=context)
        assert shown == "multi org:acme:user:user-1 gold acme True"


MALFORMED = {
    "unclosed": "{{x",
    "empty": "{{}}",
    "not-closed": "{{#x}}",
    "not-opened": "{{/x}}",
    "crossed": "{{#x}}{{#y}}{{/x}}{{/y}}",
    "delimiter": "{{=x}}",
    "only-opened": "{{",
    "opened-behind-a-tag": "{{x}} {{",
    "opened-by-another-delimiter": "{{=<% %>=}} <%",
    "three-braces-closed-by-two": "{{{x}}",
    "three-braces-closed-apart": "{{{x} }}",
    "too-deep": "{{#x}}" * 1200 + "{{/x}}" * 1200,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_text_stays_as_it_is(caplog, text):
    """What is no template keeps its raw text; one warning names the AI Config, and does not quote (spec 3)."""
    text = f"{SECRET} {text}"

    assert render(text, {"x": [{"y": 1}]}) == text
    [warning] = caplog.records
    assert (warning.name, warning.levelname) == (LOG, "WARNING")
    assert "'chat'" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("text", ["{{", "{{{v}}"])
def test_a_malformed_text_without_another_is_kept(text):
    """A tag that is not closed is not dropped where it is the whole text either."""
    assert render(text, {"v": 1}) == text


def test_a_tag_may_end_with_what_opens_one():
    """Where one delimiter both opens and closes tags, a template may end with it."""
    assert render("{{=| |=}}a |x|", {"x": 1}) == "a 1"


@both_clients
@pytest.mark.parametrize("variables", [["a"], [], "a", 1, {"a"}], ids=repr)
def test_variables_are_a_dictionary(ask_of, variables):
    """Anything else is refused where it is given, without its value."""
    ask = ask_of({mode: flag("{{a}}", mode) for mode in ("completion", "agent", "judge")})
    message = f"^variables is a dictionary of values by name, not {type(variables).__name__}$"

    for mode in ("completion", "agent", "judge"):
        with pytest.raises(TypeError, match=message):
            ask(f"{mode}_config", mode, CONTEXT, variables=variables)
    with pytest.raises(TypeError, match=message):
        ask("agent_graph", "missing", CONTEXT, variables=variables)


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


OLDER_FORMS = [
    "{{message_history}}",
    "{{ response_to_evaluate }}",
    "{{{message_history}}}",
    "{{&response_to_evaluate}}",
    "{{#x}}{{message_history}}{{/x}}",
    "{{^x}}{{{response_to_evaluate}}}{{/x}}",
    "{{=<% %>=}}<% message_history %>",
    "{{message_history}} {{no template",
]
OTHER_FORMS = [
    "message_history",
    "{message_history}",
    "{{message_history.length}}",
    "{{! message_history }}",
    "{{#message_history}}some{{/message_history}}",
    "{{x}}",
    "{{{ldctx.name}}} {{{ldContext.tags.0}}}",
    "{{#xs}}{{{.}}}{{/xs}}",
]


@pytest.mark.parametrize("method", ["judge_config", "judge_config_template"])
@pytest.mark.parametrize("as_blocks", [False, True], ids=["text", "blocks"])
@pytest.mark.parametrize("value", ["Sandy", "{{message_history}}", "{{response_to_evaluate}}", "{{="])
def test_only_what_is_served_makes_a_message_one_of_the_older_form(
    method: str, as_blocks: bool, value: str
) -> None:
    """A judge's placeholders are looked for in the template, in each form of a tag, and in no value."""
    texts = [*OLDER_FORMS, *OTHER_FORMS]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": text}] if as_blocks else text} for text in texts
    ]
    served = {**flag("", "judge"), "messages": messages}
    user = Context.builder("user-1").name(value).set("tags", [value]).build()
    options = {} if method.endswith("template") else {"variables": {"x": value, "xs": [value]}}

    config = getattr(LdAiClient(RecordingClient({"chat": served})), method)("chat", user, **options)

    assert len(config.messages) == len(OTHER_FORMS)


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
        assert SECRET not in render(text, variables)
    finally:
        logging.getLogger(LOG).setLevel(logging.NOTSET)


def test_a_variable_that_contains_itself_is_named() -> None:
    """Variables without an end are refused with a message, not with a `RecursionError`."""
    endless: dict[str, object] = {}
    endless["self"] = endless

    with pytest.raises(ValueError, match="a variable for AI Config 'chat' contains itself"):
        render("no tags", {"endless": endless})


TOLD: dict[str, tuple[str, list[str]]] = {
    "variable": ("Hi {{product}}", ["'product'"]),
    "path": ("Hi {{product.name}}", ["'product'"]),
    "unescaped": ("Hi {{{product}}} and {{&product-2}}", ["'product'", "'product-2'"]),
    "in a section": ("{{#ldctx}}Hi {{product}}{{/ldctx}}", ["'product'"]),
    "no name": ("Hi {{you are a helpful assistant}}", ["a variable"]),
    "given": ("Hi {{given}}", []),
    "empty": ("Hi {{empty}}", []),
    "optional": ("{{#product}}Hi{{/product}}{{^product}}Ho{{/product}}", []),
    "of the context": ("Hi {{ldctx.nickname}}", []),
}


@pytest.mark.parametrize(("text", "named"), TOLD.values(), ids=TOLD)
def test_a_variable_that_is_missing_is_told_once(
    text: str, named: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The log names it with the AI Config; a section may ask for one that is not there."""
    ai = LdAiClient(RecordingClient({"chat": flag(text)}))

    for _ in range(2):
        ai.completion_config("chat", CONTEXT, variables={"given": 5, "empty": ""})

    assert caplog.messages == [f"AI Config 'chat': {name} {MISSING}" for name in named]


@pytest.mark.parametrize("mode", ["agent", "judge"])
def test_other_kinds_of_ai_configs_tell_of_missing_variables_too(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What stays in a judge's messages for later is not missing."""
    text = "{{product}} {{response_to_evaluate}}" if mode == "judge" else "{{product}}"
    ai = LdAiClient(RecordingClient({"chat": flag(text, mode)}))

    getattr(ai, f"{mode}_config")("chat", CONTEXT)

    assert caplog.messages == [f"AI Config 'chat': 'product' {MISSING}"]
