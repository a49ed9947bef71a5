"""The cookbook does what it shows."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import COOKBOOK, run_program

ROOT = Path(__file__).parent.parent


def run_recipe(name: str) -> "subprocess.CompletedProcess[str]":
    """Run a file of the cookbook as a user would, without an account."""
    recipe = ROOT / "cookbook" / f"{name}.py"
    program = (
        f"import runpy, sys; sys.argv = [{str(recipe)!r}]; sys.path[0] = {str(recipe.parent)!r}; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCHDARKLY")}
    return run_program(program, environment={**environment, "COLUMNS": "120"}, modules=COOKBOOK)


@pytest.fixture(scope="module")
def story() -> str:
    """What the quickstart prints, without an account and without a terminal."""
    done = run_recipe("quickstart")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quickstart_checks_itself(story: str) -> None:
    """The demo runs without an account, in two processes, and finds what it expects on the wire."""
    assert "\n3 Answered Hold the button\n" in story
    assert "\n5 Received by LaunchDarkly, as expected: seven events, each once, one run, two processes\n" in story


def test_the_quickstart_tells_each_metrics_unit_and_sender(story: str) -> None:
    """The thumb is the second process's, all else the first's; plain text, where there is no terminal."""
    (second,) = re.findall(r"by a second process, (\d+), .+: eyJ\w{9}\.\.\.$", story, re.MULTILINE)
    rows = re.findall(r"^│ (\S+) +│ +\d+ (\w+) │ (.+?), (\d+) +│$", story, re.MULTILINE)
    units = {name: unit for name, unit, _, _ in rows}
    senders = {name: (sender, process == second) for name, _, sender, process in rows}

    assert len(rows) == 7
    assert (units["$ld:ai:tokens:ttf"], units["$ld:ai:tokens:total"]) == ("ms", "tokens")
    assert senders.pop("$ld:ai:feedback:user:positive") == ("the second", True)
    assert set(senders.values()) == {("this process", False)}
    assert "\x1b" not in story


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


def test_a_trace_is_printed_as_a_tree() -> None:
    """The recipe shows the run below the application's span, and its calls below the run, each with its time."""
    done = run_recipe("trace_in_terminal")

    assert done.returncode == 0, done.stderr
    assert [re.sub(r" +[0-9.]+ ms", "", line) for line in done.stdout.splitlines()] == [
        "GET /help",
        "  invoke_agent  kettle-agent, brief, success, 19, Hold the button",
        '    chat local-parrot  7, {"name": "look_up", "arguments": {}}',
        "    execute_tool look_up  hold the button",
        "    chat local-parrot  12, Hold the button",
    ]
