"""Custom events in the form in which LaunchDarkly takes them."""

import json
import math
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldclient import Context
from ldclient.config import Config

from langchain_ldai.delivery._event_encoder import EventEncoder

USER = Context.builder("user-1").name("Sandy").set("plan", {"name": "gold", "seats": 3}).build()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
numbers = st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


def custom(key="clicked", data=None, value=None, context=USER):
    """An event as `LDClient.track` gives it to an event processor."""
    return SimpleNamespace(timestamp=1_700_000_000_123, context=context, key=key, data=data, metric_value=value)


def nested(depth):
    """Lists in lists."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


@given(key=st.text(), data=json_values, value=st.none() | numbers)
def test_an_event_says_what_was_tracked(key, data, value):
    """Key, data and value are written as they were given, without spaces; what is `None` is left out."""
    record = EventEncoder(Config("sdk-key")).encode(custom(key, data, value))

    expected = {
        "kind": "custom",
        "creationDate": 1_700_000_000_123,
        "key": key,
        "context": {"key": "user-1", "kind": "user", "name": "Sandy", "plan": {"name": "gold", "seats": 3}},
    }
    expected |= {} if data is None else {"data": data}
    expected |= {} if value is None else {"metricValue": value}
    assert record == json.dumps(expected, separators=(",", ":")).encode()


@given(st.lists(st.tuples(st.text(), st.dictionaries(st.text(), json_values, max_size=3), numbers), max_size=3))
def test_events_together_are_the_events_one_by_one(events):
    """A record of several events holds the same bytes as each event by itself, with commas between them."""
    encoder = EventEncoder(Config("sdk-key"))

    record = encoder.encode_all(USER, events, 1_700_000_000_123)

    assert record == b",".join(encoder.encode(custom(key, data, value)) for key, data, value in events)


def test_data_is_encoded_once_for_events_that_share_it():
    """Events share the text of the same data, and only of the same data."""
    shared, other = {"runId": "run-1"}, {"runId": "run-2"}
    events = [("a", shared, 1), ("b", shared, 2.5), ("c", other, 3), ("d", shared, 4)]

    record = EventEncoder(Config("sdk-key")).encode_all(USER, events, 5)

    found = [(e["key"], e["data"], e["metricValue"], e["creationDate"]) for e in json.loads(b"[%b]" % record)]
    assert found == [(key, data, value, 5) for key, data, value in events]


def test_a_record_is_ascii_whatever_the_text():
    """Text that is no valid Unicode harms no other event: it is escaped, as by the SDK."""
    record = EventEncoder(Config("sdk-key")).encode(
        custom("caf\u00e9 \ud83d", {"emoji": "\U0001f600", "half": "\udc00"})
    )

    assert record.isascii()
    assert json.loads(record)["data"] == {"emoji": "\U0001f600", "half": "\udc00"}


class Failing(dict):
    """A mapping that another thread changes."""

    def items(self):
        raise RuntimeError("dictionary changed size during iteration")


ITSELF = {}
ITSELF["itself"] = ITSELF
TOO_DEEP = nested(100_000)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param(custom(data={"at": object()}), TypeError, id="an object"),
        pytest.param(custom(data=b"bytes"), TypeError, id="bytes"),
        pytest.param(custom(data={(1, 2): 3}), TypeError, id="a key that is no text"),
        pytest.param(custom(data={"ratio": math.nan}), ValueError, id="NaN in the data"),
        pytest.param(custom(data=[math.inf]), ValueError, id="infinity in the data"),
        pytest.param(custom(value=math.nan), ValueError, id="NaN as value"),
        pytest.param(custom(value=-math.inf), ValueError, id="infinity as value"),
        pytest.param(custom(value=1j), TypeError, id="a complex value"),
        pytest.param(custom(data=ITSELF), ValueError, id="data in itself"),
        pytest.param(custom(data=TOO_DEEP), ValueError, id="data too deep"),
        pytest.param(custom(data=Failing(a=1)), ValueError, id="data that fails"),
        pytest.param(custom(value=Failing(a=1)), ValueError, id="a value that fails"),
        pytest.param(custom(key=["a list"]), TypeError, id="a key that is a list"),
        pytest.param(
            custom(context=Context.builder("u").set("at", object()).build()),
            TypeError,
            id="an object in the context",
        ),
        pytest.param(
            custom(context=Context.builder("u").set("deep", {"a": TOO_DEEP}).build()),
            ValueError,
            id="a context too deep",
        ),
    ],
)
def test_what_is_not_json_is_refused(event, error):
    """An event that JSON has no form for raises, alone and among others."""
    encoder = EventEncoder(Config("sdk-key"))

    with pytest.raises(error):
        encoder.encode(event)
    with pytest.raises(error):
        encoder.encode_all(event.context, [("fine", {}, 1), (event.key, event.data, event.metric_value or 0)], 1)


@pytest.mark.parametrize(
    ("options", "redacted"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"all_attributes_private": True}, ["name", "plan"], id="all"),
        pytest.param({"private_attributes": {"name", "/plan/seats"}}, ["/plan/seats", "name"], id="by name"),
    ],
)
def test_private_attributes_are_redacted(options, redacted):
    """An event holds only the names of private attributes."""
    event = json.loads(EventEncoder(Config("sdk-key", **options)).encode(custom()))

    assert sorted(event["context"].get("_meta", {}).get("redactedAttributes", [])) == redacted
    assert ("Sandy" in str(event)) is not ("name" in redacted)


def test_a_context_is_shown_when_its_text_is_made():
    """A context is shown once while its text is kept; an equal one that is another object is shown too."""
    shown = []
    encoder = EventEncoder(Config("sdk-key"))
    encoder.on_new_context = shown.append
    twin = Context.builder("user-1").name("Sandy").build()

    for context in (USER, USER, twin, USER, twin):
        encoder.encode(custom(context=context))
    encoder.encode_all(USER, [("a", {}, 1)], 1)

    assert [id(context) for context in shown] == [id(USER), id(twin)]


@pytest.mark.parametrize(
    ("capacity", "times_shown"),
    [pytest.param(0, 2, id="none"), pytest.param(2, 2, id="fewer"), pytest.param(3, 1, id="as many")],
)
def test_texts_of_contexts_are_bounded(capacity, times_shown):
    """As many contexts are remembered as the SDK remembers; one that was forgotten is shown again."""
    shown = []
    encoder = EventEncoder(Config("sdk-key", context_keys_capacity=capacity))
    encoder.on_new_context = shown.append

    encoder.encode(custom())
    for number in range(2):
        encoder.encode(custom(context=Context.create(f"user-{number}", "other")))
    encoder.encode(custom())
    encoder.encode(custom())

    assert sum(context is USER for context in shown) == times_shown


def test_a_context_that_is_gone_leaves_nothing_to_another():
    """Each event has its own context, also where Python gives a new context the place of one that is gone."""
    encoder = EventEncoder(Config("sdk-key"))
    keys = [f"user-{number}" for number in range(100)]

    found = [json.loads(encoder.encode(custom(context=Context.create(key))))["context"]["key"] for key in keys]

    assert found == keys


def test_a_context_is_shown_again_as_the_sdk_indexes_it_again(monkeypatch):
    """A context is shown again after a tenth of the time after which the SDK makes a new index event."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    shown = []
    encoder = EventEncoder(Config("sdk-key", context_keys_flush_interval=300))
    encoder.on_new_context = shown.append

    for seconds in (0, 29.5, 1, 29.5, 1):
        now[0] += seconds
        encoder.encode(custom())

    assert len(shown) == 3


def test_a_context_is_shown_to_whoever_listens_now():
    """`on_new_context` may be replaced, and need not be given."""
    shown = []
    encoder = EventEncoder(Config("sdk-key"))

    encoder.encode(custom(context=Context.create("before")))
    encoder.on_new_context = shown.append
    encoder.encode(custom())

    assert shown == [USER]
