"""Events say which LaunchDarkly environment they come from, where that is known."""

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import pytest
from ldclient import Context, LDClient
from ldclient.evaluation import EvaluationDetail
from ldclient.hook import EvaluationSeriesContext, Hook

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiHandler
from langchain_ldai._wire.tokens import decode
from langchain_ldai.testing import AsyncRecordingClient, LoopbackLaunchDarkly, RecordedEvent, RecordingClient
from tests.support.chains import QUESTION, chain

CONTEXT = Context.create("user-1")
FLAGS = {
    "chat": {"_ldMeta": {"enabled": True}},
    "desk": {"root": "agent"},
    "agent": {"_ldMeta": {"enabled": True, "mode": "agent"}},
}
GIVEN, IN_ENVIRONMENT, TOLD = "a" * 24, "b" * 24, "c" * 24
tells_hooks = "environment_id" in {each.name for each in fields(EvaluationSeriesContext)}


@pytest.fixture(autouse=True)
def no_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own environment variable is none of the tests'."""
    monkeypatch.delenv("LD_ENVIRONMENT_ID", raising=False)


class HookedClient(RecordingClient):
    """A client that tells its hooks, like LaunchDarkly's, in which environment it evaluates."""

    def __init__(self, environment_id: str | None = TOLD, flags: Mapping[str, object] = FLAGS) -> None:
        super().__init__(flags)
        self.environment_id = environment_id
        self.hooks: list[Hook] = []

    def add_hook(self, hook: Hook) -> None:
        """Add a hook."""
        assert isinstance(hook, Hook)
        assert hook.metadata.name == "langchain-ldai"
        self.hooks.append(hook)

    def variation(self, key: str, context: Context, default: object) -> object:
        """Return the flag's value, and tell the hooks."""
        series = EvaluationSeriesContext(key, context, default, "variation")
        if self.environment_id is not None:
            series.environment_id = self.environment_id
        for hook in self.hooks:
            data = hook.before_evaluation(series, {"kept": 1})
            detail = EvaluationDetail(None, None, {"kind": "OFF"})
            assert hook.after_evaluation(series, data, detail) == {"kept": 1}
        return super().variation(key, context, default)


def environments(events: list[RecordedEvent]) -> list[object]:
    """Return what each event of a run says of its environment."""
    runs = [event.data for event in events if isinstance(event.data, dict) and "runId" in event.data]
    return [data.get("environmentId", "absent") for data in runs]


@pytest.mark.parametrize(
    ("given", "variable", "told", "expected"),
    [
        (GIVEN, IN_ENVIRONMENT, TOLD, GIVEN),
        ("", IN_ENVIRONMENT, TOLD, IN_ENVIRONMENT),
        (None, IN_ENVIRONMENT, TOLD, IN_ENVIRONMENT),
        (None, "", TOLD, TOLD),
        (None, None, TOLD, TOLD),
        (None, None, "", "absent"),
        (None, None, None, "absent"),
    ],
    ids=["given", "empty", "variable", "empty-variable", "told", "told-nothing", "unknown"],
)
def test_the_environment_is_the_one_given_or_found(
    monkeypatch: pytest.MonkeyPatch, given: str | None, variable: str | None, told: str | None, expected: str
) -> None:
    """It is that of the option, else of `LD_ENVIRONMENT_ID`, else what hooks are told, and never an empty one."""
    if variable is not None:
        monkeypatch.setenv("LD_ENVIRONMENT_ID", variable)
    client = HookedClient(told)
    ai = LdAiClient(client, environment_id=given)

    ai.completion_config("chat", CONTEXT).create_tracker().track_success()

    assert environments(client.events) == [expected]


def test_every_event_of_every_run_says_it() -> None:
    """Runs of AI Configs, agent graphs and their nodes, resumed or not, name the environment; tokens do not."""
    client = RecordingClient(FLAGS)
    ai = LdAiClient(client, environment_id=GIVEN)
    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(ai.completion_config("chat", CONTEXT))]})
    graph = ai.agent_graph("desk", CONTEXT)
    trackers = [ai.completion_config("chat", CONTEXT).create_tracker(), graph.nodes["agent"].create_tracker()]
    trackers += [ai.create_tracker(tracker.resumption_token, CONTEXT) for tracker in trackers]
    for tracker in trackers:
        tracker.track_success()
        tracker.track_tool_call("search")
        assert GIVEN not in str(decode(tracker.resumption_token))
    for run in (graph.create_tracker(), ai.create_graph_tracker(graph.create_tracker().resumption_token, CONTEXT)):
        run.track_invocation_success()
        run._track_visits(["agent"])

    found = environments(client.events)
    assert len(found) > 12
    assert set(found) == {GIVEN}
    assert all(event.data == "chat" for event in client.events if event.name.endswith("completion-config"))


def test_a_resumed_tracker_says_what_its_own_client_knows() -> None:
    """The environment is not the token's: a client that knows of none sends none."""
    token = LdAiClient(RecordingClient(FLAGS), environment_id=GIVEN).completion_config("chat", CONTEXT)
    client = RecordingClient()

    LdAiClient(client).create_tracker(token.create_tracker().resumption_token, CONTEXT).track_success()

    assert environments(client.events) == ["absent"]


@pytest.mark.asyncio
async def test_the_asynchronous_client_says_it_too() -> None:
    """`AsyncLdAiClient` takes the same option."""
    client = AsyncRecordingClient(FLAGS)
    config = await AsyncLdAiClient(client, environment_id=GIVEN).completion_config("chat", CONTEXT)

    config.create_tracker().track_success()

    assert environments(client.events) == [GIVEN]


@pytest.mark.parametrize("wrong", [5, b"a", ["a"]], ids=repr)
def test_an_environment_is_a_text(wrong: object) -> None:
    """Anything else is refused where it is given, and nothing is sent."""
    client = RecordingClient()

    with pytest.raises(TypeError, match="environment_id is a str, not"):
        LdAiClient(client, environment_id=wrong)

    assert client.events == []


def test_a_client_gets_one_hook_however_many_clients_are_made_over_it() -> None:
    """An `LdAiClient` a request adds nothing to LaunchDarkly's client, and each of them learns the environment."""
    client = HookedClient()
    many = [LdAiClient(client) for _ in range(20)]
    many[0].completion_config("chat", CONTEXT)

    for ai in many:
        ai.completion_config("chat", CONTEXT).create_tracker().track_success()

    assert len(client.hooks) == 1
    assert environments(client.events) == [TOLD] * 20


def test_a_client_whose_environment_is_given_gets_no_hook() -> None:
    """Evaluations cost nothing more where nothing is to be learned."""
    client = HookedClient()
    LdAiClient(client, environment_id=GIVEN)

    assert client.hooks == []


def test_a_client_is_not_kept_for_its_hook() -> None:
    """What is noted of a client goes with it."""
    gone = []

    class Client(HookedClient):
        def __del__(self) -> None:
            gone.append(True)

    LdAiClient(Client())
    gc.collect()

    assert gone == [True]


@dataclass
class Wrapper:
    """A client of an application's own, which can be no key of a dictionary."""

    hooks: list[Hook] = field(default_factory=list)
    client: HookedClient = field(default_factory=HookedClient)

    def __post_init__(self) -> None:
        self.add_hook = self.client.add_hook
        self.variation = self.client.variation
        self.track = self.client.track


def test_a_client_that_nothing_can_be_noted_for_has_hooks_all_the_same() -> None:
    """A wrapper without a hash works."""
    wrapper = Wrapper()

    LdAiClient(wrapper).completion_config("chat", CONTEXT).create_tracker().track_success()

    assert environments(wrapper.client.events) == [TOLD]


@pytest.mark.skipif(not tells_hooks, reason="the SDK tells hooks of their environment from 9.20 on")
def test_launchdarklys_own_client_tells_the_environment() -> None:
    """Over the wire: what LaunchDarkly says when it streams flags is in the events of a run."""
    with LoopbackLaunchDarkly(FLAGS, environment_id=TOLD) as launchdarkly:
        with LDClient(launchdarkly.config()) as client:
            LdAiClient(client).completion_config("chat", CONTEXT).create_tracker().track_success()
        (event,) = launchdarkly.custom_events("$ld:ai:generation:success")

    assert event.data["environmentId"] == TOLD
