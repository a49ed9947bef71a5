"""The README and the cookbook do what they show."""

import contextlib
import functools
import io
import os
import subprocess
import sys
from pathlib import Path

import ldclient.config
import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

import langchain_ldai
from langchain_ldai.testing import LoopbackLaunchDarkly

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
FLAGS = ROOT / "cookbook" / "flags.json"


def _run(example: Example) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        PythonEvaluator()(example)
    example.namespace["printed"] = printed.getvalue()


def _compare(example: Example) -> None:
    assert str(example.parsed) == example.namespace["printed"]


@pytest.fixture
def launchdarkly(monkeypatch: pytest.MonkeyPatch):
    """A LaunchDarkly on loopback, which an `ldclient` made from nothing but an SDK key finds."""
    with LoopbackLaunchDarkly.from_file(FLAGS) as server:
        addresses = {"base_uri": server.url, "stream_uri": server.url, "events_uri": server.url}
        config = functools.partial(ldclient.config.Config, diagnostic_opt_out=True, **addresses)
        monkeypatch.setattr(ldclient.config, "Config", config)
        monkeypatch.setenv("LAUNCHDARKLY_SDK_KEY", "sdk-readme")
        yield server


def test_the_readmes_code_prints_what_the_readme_shows(launchdarkly: LoopbackLaunchDarkly) -> None:
    """Every block of the README runs, in order, and prints the output shown under it."""
    parsers = [CodeBlockParser("python", evaluator=_run), CodeBlockParser("text", evaluator=_compare)]
    examples = list(Sybil(parsers).parse(README).examples())

    for example in examples:
        example.evaluate()

    assert len(examples) >= 9
    (feedback,) = launchdarkly.custom_events("$ld:ai:feedback:user:positive")
    assert launchdarkly.metrics(feedback.data["runId"])["$ld:ai:tokens:total"] == [17]


def test_the_readmes_first_example_delivers_by_itself(launchdarkly: LoopbackLaunchDarkly) -> None:
    """Whoever pastes it, and nothing after it, has their metrics in LaunchDarkly when it ends."""
    parser = CodeBlockParser("python", evaluator=_run)

    example = next(iter(Sybil([parser]).parse(README).examples()))
    example.evaluate()

    (report,) = example.namespace["runs"]
    metrics = launchdarkly.metrics(report.run_id)
    assert metrics["$ld:ai:generation:success"] == [1]
    assert metrics["$ld:ai:tokens:total"] == [17]


def test_every_exported_name_is_in_the_readme() -> None:
    """A public name that no page explains is not public."""
    _, _, names = README.read_text("utf-8").partition("## All names")

    assert [name for name in langchain_ldai.__all__ if f"`{name}`" not in names] == []


def test_the_readme_shows_the_benchmarks_figures() -> None:
    """The table of costs is the one that `make bench` wrote last."""
    measured = (README.parent / "benchmarks" / "results.md").read_text("utf-8").rstrip()

    assert measured in README.read_text("utf-8")


def run_recipe(name: str) -> "subprocess.CompletedProcess[str]":
    """Run a file of the cookbook as a user would, without an account."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCHDARKLY")}
    return subprocess.run(
        [sys.executable, ROOT / "cookbook" / f"{name}.py"],
        env={**environment, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_the_quickstart_checks_itself() -> None:
    """The demo runs without an account, in two processes, and finds what it expects on the wire."""
    done = run_recipe("quickstart")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Hold the button\n")
    assert "as expected: seven events, each once, one run, two processes" in done.stdout


RECIPES = {
    "streaming_chat": ["2 runs; ada's feedback: [1]"],
    "rag": ["Hold the button", "success: 1 model call, TokenUsage(total=23, input=20, output=3)"],
    "agent": ["success: 2 model calls, tools ('look_up',)", "relevance [0.9]"],
    "agent_graph": [
        "desk: triage -> refunds, success, 24 tokens",
        "triage: success, TokenUsage(total=11, input=8, output=3)",
        "refunds: success, TokenUsage(total=13, input=10, output=3)",
    ],
}


@pytest.mark.parametrize(("name", "lines"), RECIPES.items(), ids=RECIPES)
def test_each_recipe_prints_what_its_run_recorded(name: str, lines: list[str]) -> None:
    """The recipes of the cookbook run as they are."""
    done = run_recipe(name)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-len(lines) :] == lines
