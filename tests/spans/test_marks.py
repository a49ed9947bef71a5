"""The marks of a run on the spans of other packages, and the token that leaves them."""

import json
from html import escape
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai._wire.tokens import RunIdentity, token_and_fields
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.spans._marks import Marks, read_marks, without_token

TOKEN = "eyJydW5JZCI6InIifQ"
SHORTEST_TOKEN, _ = token_and_fields(RunIdentity("r", "k", "", 1))
SEALED_TOKEN = TokenSealer([TokenSealer.generate_key()]).seal(SHORTEST_TOKEN)
METADATA = {
    "ldai_resumption_token": TOKEN,
    "ldai_run_id": "run-1",
    "ldai_config_key": "support-bot",
    "ldai_variation_key": "friendly",
    "ldai_run_root": "true",
}
ROOT = Marks("run-1", "support-bot", "friendly", is_root=True)
OPENLLMETRY = "opentelemetry.instrumentation.langchain"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def under(prefix: str, **values: str) -> dict[str, str]:
    """Return metadata as attributes, one for each key."""
    return {f"{prefix}{key}": value for key, value in {**METADATA, **values}.items()}


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        pytest.param(
            "openinference.instrumentation.langchain", {"metadata": json.dumps(METADATA)}, id="OpenInference"
        ),
        pytest.param(OPENLLMETRY, under("traceloop.association.properties."), id="OpenLLMetry"),
        pytest.param(OPENLLMETRY, under("acme."), id="OpenLLMetry with a prefix of one's own"),
        pytest.param("langsmith", under("langsmith.metadata."), id="LangSmith"),
        pytest.param(
            "langfuse-sdk",
            {
                key: json.dumps(value)
                for key, value in (
                    under("langfuse.trace.metadata.", ldai_run_root="true", ldai_run_id="run-0")
                    | under("langfuse.observation.metadata.")
                ).items()
            },
            id="Langfuse",
        ),
    ],
)
def test_each_package_writes_the_metadata_in_its_way(scope: str, attributes: dict[str, str]) -> None:
    """The marks are the same (fact 177)."""
    assert read_marks(attributes, scope) == ROOT


@pytest.mark.parametrize("prefix", ["traceloop.association.properties.", "langfuse.trace.metadata."])
def test_inherited_marks_are_none(prefix: str) -> None:
    """A span that only has those of a step above it is no step, and gets no event (facts 176, 177)."""
    assert read_marks(under(prefix), "opentelemetry.instrumentation.httpx") is None


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"metadata": "{}"},
        {"metadata": "ldai_run_id"},
        {"metadata": '{"ldai_run_id": ""}'},
        {"metadata": ["ldai_run_id"]},
        {"acme.ldai_run_id": ""},
        {"gen_ai.prompt": '{"ldai_run_id": "run-1"}'},
    ],
)
def test_a_span_without_a_run_has_no_marks(attributes: dict[str, object]) -> None:
    """Other texts, and lists, are no metadata."""
    assert read_marks(attributes, "app") is None


def test_a_sealed_run_tells_its_id_alone() -> None:
    """The keys are in no metadata then."""
    assert read_marks({"acme.ldai_run_id": "run-1"}, "app") == Marks("run-1", "", "", is_root=False)


def test_metadata_may_be_cut() -> None:
    """An SDK may cut texts at a length: what is whole counts."""
    text = json.dumps(METADATA)

    assert read_marks({"metadata": text[: text.index("friendly")]}, "app") == Marks(
        "run-1", "support-bot", "", is_root=False
    )


@pytest.mark.parametrize("ascii_only", [True, False])
def test_ids_may_have_any_letters(ascii_only: bool) -> None:
    """What JSON escapes is read as it was."""
    text = json.dumps({"ldai_run_id": 'zoë "1"\\', "ldai_run_root": "false"}, ensure_ascii=ascii_only)

    assert read_marks({"metadata": text}, "app") == Marks('zoë "1"\\', "", "", is_root=False)


@given(before=st.dictionaries(st.text(max_size=5), values), after=st.dictionaries(st.text(max_size=5), values))
def test_the_token_leaves_json(before: dict[str, object], after: dict[str, object]) -> None:
    """Whatever stands around it is still JSON, and the same."""
    rest = {**before, **after}
    metadata = {**before, "ldai_resumption_token": TOKEN, **after}

    kept = without_token({"metadata": json.dumps(metadata)})

    assert json.loads(kept["metadata"]) == rest


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps({"inputs": {}, "metadata": METADATA}), id="in JSON"),
        pytest.param(json.dumps([json.dumps({"a": 1, **METADATA})]), id="in JSON in JSON"),
        pytest.param(json.dumps(json.dumps(json.dumps(METADATA))), id="three deep"),
        pytest.param(str({"metadata": METADATA}), id="a dictionary as text"),
        pytest.param(json.dumps(METADATA)[:50], id="cut"),
        pytest.param(json.dumps({"ldai_resumption_token": TOKEN}, separators=(",", ":")), id="alone and compact"),
        pytest.param(json.dumps(METADATA, indent=2), id="on lines"),
    ],
)
def test_the_token_leaves_texts(text: str) -> None:
    """Packages write metadata into other texts too, such as the input of a step."""
    kept = without_token({"input": text, "inputs": [text], "nested": {"input": (text,)}})

    assert "ldai_resumption_token" in text
    assert TOKEN[:10] not in str(kept)
    assert list(kept) == ["input", "inputs", "nested"]


@pytest.mark.parametrize("token", [SHORTEST_TOKEN, SEALED_TOKEN], ids=["plain", "sealed"])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda key, token: f"invoke({key}={token!r}, user='u')", id="an argument"),
        pytest.param(lambda key, token: f"at=info {key}={token} user=u", id="a line of a log"),
        pytest.param(lambda key, token: f"{key}: {token}\nuser: u", id="YAML"),
        pytest.param(lambda key, token: f"/feedback?{urlencode({key: token})}&user=u", id="a URL"),
        pytest.param(lambda key, token: repr([(key, token), ("user", "u")]), id="pairs"),
        pytest.param(lambda key, token: repr({key.encode(): token.encode(), "user": "u"}), id="bytes"),
        pytest.param(lambda key, token: escape(json.dumps({key: token, "user": "u"})), id="JSON in HTML"),
        pytest.param(lambda key, token: f"<{key}>{token}</{key}><user>u</user>", id="XML"),
    ],
)
def test_the_token_leaves_texts_of_other_forms(write, token: str) -> None:
    """The key, and all that is around it, stays."""
    text = write("ldai_resumption_token", token)

    kept = without_token({"input": text})["input"]

    assert token[:16] not in kept
    assert kept == text.replace(token if token in text else token.rstrip("="), "")


@pytest.mark.parametrize(
    "text",
    [
        "pass ldai_resumption_token as metadata, with resume=True",
        "['ldai_resumption_token', 'ldai_run_id', 'ldai_variation_key']",
        "ldai_resumption_token, ldai_run_id=6f4b2c1e-7b1d-4c7f-9a53-0c2d4d6c8e11",
    ],
)
def test_a_text_that_names_the_key_alone_stays(text: str) -> None:
    """It may tell of the token without having one."""
    assert without_token({"input": text}) == {"input": text}


@given(values)
def test_json_in_json_stays_whole(value: object) -> None:
    """What is around the token can still be read."""
    text = json.dumps({"inner": json.dumps({"ldai_resumption_token": TOKEN, "value": value}), "value": value})

    outer = json.loads(without_token({"input": text})["input"])

    assert (json.loads(outer["inner"]), outer["value"]) == ({"value": value}, value)


def test_the_token_leaves_attributes() -> None:
    """Under whichever prefix; what has no token stays as it is."""
    plain = {"a": "text", "b": ("x", "y"), "c": [1, 2], "d": True, "e": 1.5, "f": {"g": "h"}}

    assert without_token({**plain, **under("acme.")}) == {
        **plain,
        "acme.ldai_run_id": "run-1",
        "acme.ldai_config_key": "support-bot",
        "acme.ldai_variation_key": "friendly",
        "acme.ldai_run_root": "true",
    }


def test_a_users_text_cannot_hold_the_exporter_up() -> None:
    """The search takes time in proportion to the text; with a power of it this test would not end."""
    text = "\\" * 300_000 + ", " * 100_000 + " " * 300_000 + "ldai_resumption_token"

    assert without_token({"input": text}) == {"input": text}
