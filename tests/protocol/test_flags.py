"""The flags that we write are evaluated by LaunchDarkly's own SDK."""

from collections import Counter

from ldclient import Context, LDClient

from langchain_ldai._protocol import flags
from tests.support.serving import serving


def test_a_rollout_serves_its_shares_and_keeps_to_them() -> None:
    """A context gets the same variation each time, and many contexts get the shares that the weights say."""
    flag = flags.flag_of("bot", ["a", "b"], flags.rollout([75_000, 25_000]))
    with serving(flag) as launchdarkly, LDClient(launchdarkly.config(send_events=False)) as client:
        first, second = (
            [client.variation("bot", Context.create(f"user-{number}"), None) for number in range(2000)]
            for _ in range(2)
        )

    assert first == second
    assert 1400 < Counter(first)["a"] < 1600


def test_a_rollout_can_follow_another_kind_of_context() -> None:
    """All users of an organization get what the organization gets."""
    flag = flags.flag_of("bot", ["a", "b"], flags.rollout([50_000, 50_000], "org"))
    with serving(flag) as launchdarkly, LDClient(launchdarkly.config(send_events=False)) as client:
        org = Context.create("acme", "org")
        users = [Context.create_multi(org, Context.create(f"user-{number}")) for number in range(50)]
        served = {client.variation("bot", user, None) for user in users}

    assert len(served) == 1


def test_a_rule_serves_contexts_by_attribute() -> None:
    """The first rule that matches decides, and what matches none falls through."""
    rule = {"clauses": [flags.clause("plan", ["pro", "team"])], "variation": 1}
    flag = flags.flag_of("bot", ["a", "b"], rules=[rule])
    with serving(flag) as launchdarkly, LDClient(launchdarkly.config(send_events=False)) as client:
        plans = [Context.builder("user-1").set("plan", plan).build() for plan in ("pro", "team", "free")]
        served = [client.variation("bot", context, None) for context in plans]

    assert served == ["b", "b", "a"]
