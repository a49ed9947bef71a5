"""LaunchDarkly gets the same events, under the same headers, as from the SDK's own event processors."""

import asyncio
import inspect
import json
from collections import defaultdict

import pytest
from ldclient import Context, LDClient
from ldclient.async_client import AsyncLDClient
from ldclient.migrations import Operation, Origin, Stage

from langchain_ldai.delivery import DurableEvents
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.delivery.loopback_events import EventsServer

SANDY = Context.builder("sandy").name("Sandy").set("plan", {"name": "gold", "seats": 3}).set("age", 41).build()
SHY = Context.builder("shy").name("Shy").set("plan", {"name": "free"}).private("name", "/plan/name").build()
NOBODY = Context.builder("nobody").anonymous(True).name("Nobody").set("age", 7).build()
ACME = Context.builder("acme").kind("org").set("size", 9).build()
STAFF = Context.create_multi(SANDY, ACME)
GUESTS = Context.create_multi(NOBODY, ACME)
EVERYBODY = (SANDY, SHY, NOBODY, ACME, STAFF, GUESTS)

FAR = 4_000_000_000_000
FLAG = {"on": True, "salt": "s", "variations": [False, True], "fallthrough": {"variation": 1}, "offVariation": 0}
FLAGS = {
    "plain": FLAG,
    "tracked": {**FLAG, "trackEvents": True},
    "debugged": {**FLAG, "debugEventsUntilDate": FAR},
    "experiment": {**FLAG, "trackEventsFallthrough": True},
    "needy": {**FLAG, "trackEvents": True, "prerequisites": [{"key": "tracked", "variation": 1}]},
    "unsummed": {**FLAG, "excludeFromSummaries": True},
    "never": {**FLAG, "trackEvents": True, "samplingRatio": 0},
    "move": {**FLAG, "variations": ["off", "live"], "migration": {"checkRatio": 1}},
}

# A step of a scenario: the client's method, and what it is called with.
TRACKS = [
    ("track", ("nothing", SANDY)),
    ("track", ("whole", SANDY, None, 3)),
    ("track", ("zero", SANDY, None, 0)),
    ("track", ("fraction", SANDY, {"runId": "r"}, 2.5)),
    ("track", ("large", SANDY, None, 1e300)),
    ("track", ("number", SHY, 7)),
    ("track", ("text", SHY, "caf\u00e9 \U0001f600 \ud83d", -1)),
    ("track", ("nested", SHY, {"a": [1, None, {"b": True}], "": '\u0000"\\/'}, 1)),
    ("track", ("empty", SHY, {}, 1)),
    ("track", ("false", SHY, False)),
    ("track", ('caf\u00e9 "quoted"', ACME, [], 12345678901234567890)),
    *[("track", ("everybody", context, {"n": 1}, 1)) for context in EVERYBODY],
]
EVALUATIONS = [
    (method, (key, context, "default"))
    for method in ("variation", "variation_detail")
    for key in (*FLAGS, "unknown")
    for context in (SANDY, SHY, NOBODY, STAFF)
]
SCENARIOS = {
    "tracks": TRACKS,
    "evaluations": EVALUATIONS,
    "identifies": [("identify", (context,)) for context in (*EVERYBODY, SANDY)],
    "identify, then track": [("identify", (SANDY,)), ("track", ("a", SANDY)), ("identify", (SANDY,))],
    "track, then identify": [("track", ("a", SHY)), ("identify", (SHY,)), ("track", ("a", SHY))],
    "evaluate, then track": [
        ("variation", ("plain", SANDY, 1)),
        ("track", ("a", SANDY)),
        ("track", ("a", NOBODY)),
    ],
    "migration": [("migrate", ("move", SANDY)), ("migrate", ("move", NOBODY))],
    "nothing": [],
}


@pytest.fixture(scope="module")
def launchdarkly(tmp_path_factory):
    """A LaunchDarkly that serves the flags."""
    path = tmp_path_factory.mktemp("flags") / "flags.json"
    path.write_text(json.dumps({"flags": FLAGS}), "utf-8")
    with LoopbackLaunchDarkly.from_file(path) as serving:
        yield serving


async def take(client, step):
    """Take a step of a scenario with either client."""

    async def call(method, *args):
        result = getattr(client, method)(*args)
        return await result if inspect.isawaitable(result) else result

    method, args = step
    if method == "migrate":
        _, tracker = await call("migration_variation", *args, Stage.OFF)
        tracker.operation(Operation.READ).invoked(Origin.OLD)
        await call("track_migration_op", tracker)
    else:
        await call(method, *args)


def requests_of_sync(launchdarkly, scenario, options):
    """What an `LDClient` sends in a scenario."""
    with EventsServer() as server, LDClient(launchdarkly.config(**options, events_uri=server.url)) as client:
        for step in scenario:
            asyncio.run(take(client, step))
    return server.requests


def requests_of_async(launchdarkly, scenario, options):
    """What an `AsyncLDClient` sends in a scenario."""

    async def play():
        with EventsServer() as server:
            async with AsyncLDClient(launchdarkly.async_config(**options, events_uri=server.url)) as client:
                for step in scenario:
                    await take(client, step)
        return server.requests

    return asyncio.run(play())


both_clients = pytest.mark.parametrize("requests_of", [requests_of_sync, requests_of_async], ids=["sync", "async"])

DATES = ("creationDate", "startDate", "endDate")


def events_by_kind(requests):
    """The events that arrived, in order for each kind, without dates and without the order of sets."""
    found = defaultdict(list)
    for request in requests:
        for event in request.events:
            assert all(type(event.get(name, 1)) is int for name in DATES)
            for feature in event.get("features", {}).values():
                feature["contextKinds"].sort()
            for context in event.get("context", {}), *event.get("context", {}).values():
                if isinstance(context, dict) and "_meta" in context:
                    context["_meta"]["redactedAttributes"].sort()
            found[event["kind"]].append({name: value for name, value in event.items() if name not in DATES})
    return dict(found)


def headers_of(requests):
    """The headers, but those that the HTTP library adds; of an id that is made anew each time, the length."""
    added = ("accept", "accept-encoding", "connection", "content-length", "host")
    made_anew = ("x-launchdarkly-payload-id", "x-launchdarkly-instance-id")
    found = {
        tuple(
            sorted(
                (name, len(value) if name in made_anew else value)
                for name, value in request.headers.items()
                if name not in added
            )
        )
        for request in requests
    }
    (headers,) = found
    return dict(headers)


def durable(directory):
    """The option that makes events durable."""
    return {"event_processor_class": DurableEvents(directory)}


@both_clients
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_events_are_those_of_the_sdk(launchdarkly, tmp_path, requests_of, scenario):
    """Whatever a client does, the events that arrive are the SDK's."""
    expected = requests_of(launchdarkly, scenario, {})
    found = requests_of(launchdarkly, scenario, durable(tmp_path))

    assert events_by_kind(found) == events_by_kind(expected)
    assert bool(found) is bool(scenario)


OPTIONS = {
    "compressed": {"enable_event_compression": True},
    "all attributes private": {"all_attributes_private": True},
    "some attributes private": {"private_attributes": {"name", "/plan/name"}},
    "no anonymous contexts": {"omit_anonymous_contexts": True},
    "a wrapper": {"wrapper_name": "shop"},
    "a wrapper's version": {"wrapper_name": "shop", "wrapper_version": "1.2"},
    "an application": {"application": {"id": "till", "version": "3"}},
    "an application's version": {"application": {"version": "3"}},
}


@both_clients
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_mean_the_same(launchdarkly, tmp_path, requests_of, options):
    """With every option, events and headers are the SDK's."""
    scenario = TRACKS + EVALUATIONS + SCENARIOS["identifies"]

    expected = requests_of(launchdarkly, scenario, options)
    found = requests_of(launchdarkly, scenario, options | durable(tmp_path))

    assert events_by_kind(found) == events_by_kind(expected)
    assert headers_of(found) == headers_of(expected)
    assert {request.path for request in found} == {request.path for request in expected} == {"/bulk"}
