"""What a span says of the AI Config that its run was served."""

from typing import Any
from uuid import UUID

from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import LdAiClient
from langchain_ldai._runs.trackers import Served, adapter_of, served_by
from langchain_ldai.spans._served import context_attributes, flag_attributes, run_attributes
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.vectors import graph_flag

USER_AND_ORG = Context.create_multi(Context.create("user-1"), Context.create("o:1", "org"))


def test_a_run_is_named_with_its_config_and_variation() -> None:
    """The variation's key is there also where it is unknown; a graph's key only where there is a graph."""
    assert run_attributes(Served("run-1", "support-bot", graph_key="desk")) == {
        "launchdarkly.operation.type": "gen_ai",
        "launchdarkly.run.id": "run-1",
        "launchdarkly.config.key": "support-bot",
        "launchdarkly.variation.key": "",
        "launchdarkly.graph.key": "desk",
    }
    assert "launchdarkly.graph.key" not in run_attributes(Served("run-1", "support-bot"))


def test_each_kind_of_the_context_has_its_key() -> None:
    """The keys are those of the application, as they are."""
    assert context_attributes(Served("run-1", "support-bot", context=USER_AND_ORG)) == {
        "context.contextKeys.org": "o:1",
        "context.contextKeys.user": "user-1",
    }


def test_the_event_has_what_is_known() -> None:
    """Keys are escaped in the context's id alone."""
    served = Served("run-1", "support-bot", "friendly", 3, "", USER_AND_ORG, "64a1b2c3d4e5f60718293a4b")

    assert flag_attributes(served) == {
        "feature_flag.key": "support-bot",
        "feature_flag.provider.name": "LaunchDarkly",
        "feature_flag.set.id": "64a1b2c3d4e5f60718293a4b",
        "feature_flag.context.id": "org:o%3A1:user:user-1",
        "feature_flag.contextKeys": '{"org":"o:1","user":"user-1"}',
        "feature_flag.result.variant": "friendly",
        "feature_flag.version": "3",
    }


def test_the_event_lacks_what_is_unknown() -> None:
    """Nothing is made up for an AI Config without variation, version and context."""
    assert flag_attributes(Served("run-1", "support-bot")) == {
        "feature_flag.key": "support-bot",
        "feature_flag.provider.name": "LaunchDarkly",
    }


def test_keys_keep_their_letters() -> None:
    """A key that is no ASCII is not escaped."""
    served = Served("run-1", "support-bot", context=Context.create("zoë"))

    assert flag_attributes(served)["feature_flag.contextKeys"] == '{"user":"zoë"}'


def test_a_key_that_is_no_text_is_shown_as_one() -> None:
    """A user's id may be a UUID; without a text a run would have no spans, and an exporter lose its batch."""
    user_id: Any = UUID(int=1)
    served = Served("run-1", "support-bot", context=Context.create(user_id))

    found = flag_attributes(served) | context_attributes(served)

    assert found["feature_flag.context.id"] == found["context.contextKeys.user"] == str(user_id)
    assert found["feature_flag.contextKeys"] == f'{{"user":"{user_id}"}}'


def test_a_context_without_a_key_is_not_shown() -> None:
    """LaunchDarkly's client takes it, and it says of nobody whom it is for."""
    nobody: Any = None
    served = Served("run-1", "support-bot", context=Context.create(nobody))

    assert context_attributes(served) == {}
    assert flag_attributes(served) == flag_attributes(Served("run-1", "support-bot"))


def test_a_tracker_of_ours_tells_all() -> None:
    """Its run, config, variation and version, the context and the environment."""
    ai = LdAiClient(RecordingClient({"support-bot": FLAG}), environment_id="env-1")
    tracker = ai.completion_config("support-bot", USER_AND_ORG).create_tracker()

    served = served_by(adapter_of(tracker))

    assert served == Served(tracker.run_id, "support-bot", "friendly", 3, "", USER_AND_ORG, "env-1")


def test_a_tracker_of_the_official_package_tells_what_its_token_does() -> None:
    """Neither the context nor the environment is in it."""
    client = RecordingClient({"support-bot": FLAG})
    tracker = adapter_of(LDAIClient(client).completion_config("support-bot", USER_AND_ORG).create_tracker())

    assert served_by(tracker) == Served(tracker.identity.run_id, "support-bot", "friendly", 3)


def test_a_graph_stands_for_its_graph() -> None:
    """The key of an agent graph is that of the AI Config and of the graph; a node's run names both."""
    graph = LdAiClient(RecordingClient({"desk": graph_flag(), "a": FLAG, "b": FLAG})).agent_graph(
        "desk", USER_AND_ORG
    )

    of_graph = served_by(adapter_of(graph.create_tracker()))
    of_node = served_by(adapter_of(graph.nodes["a"].create_tracker()))

    assert (of_graph.config_key, of_graph.graph_key) == ("desk", "desk")
    assert (of_node.config_key, of_node.graph_key) == ("a", "desk")
