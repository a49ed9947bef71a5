"""Spans that OpenInference, OpenLLMetry and LangSmith make of real runs, as a collector gets them over OTLP."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import NamedTuple

import pytest

from tests.support.otlp_collector import CollectedSpan, OtlpCollector

MAKERS = ("openinference", "openllmetry", "langsmith")
RUNNABLES = ("chain", "model", "agent", "nested", "nodes")
WAYS = ("invoke", "ainvoke", "stream", "astream")
IS_OLD_OPENLLMETRY = version("opentelemetry-instrumentation-langchain").startswith("0.45.")
"""Whether it is a release that writes no metadata on the spans of tools (fact 176)."""


class Told(NamedTuple):
    """What the program says of one run: its id, those of its nodes' runs, and how many steps and tools it had."""

    run_id: str
    nodes: list[str]
    steps: int
    tools: int


class Seen(NamedTuple):
    """What arrived at the collector, and what the program said."""

    collector: OtlpCollector
    told: dict[str, Told]

    def runs(self, maker: str, runnable: str) -> dict[str, str]:
        """Return the runs of a runnable and of its nodes, each with the key of its AI Config."""
        each = [self.told[f"{maker}-{runnable}-{way}"] for way in WAYS]
        nodes = [run_id for told in each for run_id in told.nodes]
        return dict.fromkeys([told.run_id for told in each], "support-bot") | dict.fromkeys(nodes, "writer")

    def spans(self, maker: str, *run_ids: str) -> list[CollectedSpan]:
        """Return the spans of runs."""
        spans = self.collector.spans[f"/{maker}"]
        return [span for span in spans if span.attributes.get("launchdarkly.run.id") in run_ids]


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """Run the program once."""
    with OtlpCollector() as collector:
        command = [sys.executable, "-m", "tests.spans.instrumented", collector.address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield Seen(collector, {name: Told(**told) for name, told in json.loads(done.stdout).items()})


def topmost(spans: list[CollectedSpan]) -> list[CollectedSpan]:
    """Return the spans whose parent is not among them."""
    own = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id not in own]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("runnable", RUNNABLES)
@pytest.mark.parametrize("maker", MAKERS)
def test_the_span_of_each_step_names_the_run(seen: Seen, maker: str, runnable: str, way: str) -> None:
    """A run has as many spans as steps; what happens in a named node is the node's (facts 164 to 166)."""
    told = seen.told[f"{maker}-{runnable}-{way}"]

    spans = seen.spans(maker, told.run_id, *told.nodes)

    assert len(spans) == told.steps - (told.tools if maker == "openllmetry" and IS_OLD_OPENLLMETRY else 0)
    assert {span.attributes["launchdarkly.run.id"] for span in spans} == {told.run_id, *told.nodes}
    assert {span.attributes["launchdarkly.operation.type"] for span in spans} == {"gen_ai"}


@pytest.mark.parametrize("runnable", RUNNABLES)
@pytest.mark.parametrize("maker", MAKERS)
def test_the_topmost_span_of_a_run_says_what_was_served(seen: Seen, maker: str, runnable: str) -> None:
    """It has the event, at its start, and the context's keys; no other span of the run has."""
    for run_id, config_key in seen.runs(maker, runnable).items():
        spans = seen.spans(maker, run_id)
        [top] = topmost(spans)
        told = [(span, event) for span in spans for event in span.events if event.name == "feature_flag"]

        assert [(span, event.time) for span, event in told] == [(top, top.start)]
        assert told[0][1].attributes == {
            "feature_flag.key": config_key,
            "feature_flag.provider.name": "LaunchDarkly",
            "feature_flag.set.id": "env-1",
            "feature_flag.context.id": "user-1",
            "feature_flag.contextKeys": '{"user":"user-1"}',
            "feature_flag.result.variant": "friendly",
            "feature_flag.version": "3",
        }
        assert [span for span in spans if "context.contextKeys.user" in span.attributes] == [top]
        assert {span.attributes["launchdarkly.config.key"] for span in spans} == {config_key}


@pytest.mark.parametrize(
    "maker", MAKERS[:2]
)  # LangSmith exports on a thread of its own, and may begin with the root
def test_a_batch_may_bring_children_before_their_root(seen: Seen, maker: str) -> None:
    """Each span came in a batch of its own, the root's at last."""
    for run_id in seen.runs(maker, "agent"):
        spans = seen.spans(maker, run_id)
        [top] = topmost(spans)

        assert len({span.batch for span in spans}) == len(spans)
        assert top.batch == max(span.batch for span in spans)


@pytest.mark.parametrize("maker", MAKERS)
def test_the_token_leaves_no_process(seen: Seen, maker: str) -> None:
    """Not one request holds it, though the packages write it into metadata, and into the inputs of a step."""
    bodies = seen.collector.bodies[f"/{maker}"]

    assert any(b"ldai_run_id" in body for body in bodies)
    assert not [body for body in bodies if b"ldai_resumption_token" in body]
