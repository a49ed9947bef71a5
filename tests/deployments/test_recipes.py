"""The servers' recipes as programs: where they keep their files, and what they say when they end."""

import asyncio
import json
import os
import runpy
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import parse
from limits.aio.strategies import FixedWindowRateLimiter

from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.servers import ROOT
from tests.support.programs import COOKBOOK, run_program

RECIPES = {"langserve_app": ROOT / "cookbook", "graph": ROOT / "cookbook" / "langgraph_server"}
ENDS = {"langserve_app": "recipe.close()", "graph": ""}  # of itself, where it is no server's to call it
COUNTED = (
    "recipe.ai.completion_config('support-bot', recipe.Context.create('ada')).create_tracker().track_success()"
)


@pytest.fixture
def launchdarkly() -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly that serves the AI Config of the recipes."""
    with LoopbackLaunchDarkly.from_file(ROOT / "cookbook" / "flags.json") as service:
        yield service


def run(
    recipe: str, program: str, launchdarkly: LoopbackLaunchDarkly, folder: Path, *missing: str, status: int = 0
) -> str:
    """Run a program that imports a recipe, with a home and a temporary directory in a folder; return its log.

    Args:
        recipe: The recipe's module.
        program: What the program does with it.
        launchdarkly: Where its client connects.
        folder: Where it keeps its files.
        missing: Variables of the environment that are not set.
        status: With which status the program ends.
    """
    home, temporary = folder / "home", folder / "temporary"
    home.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    unset = ("LEDGER_FILE", "XDG_STATE_HOME", "LAUNCHDARKLY_SDK_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LAUNCHDARKLY_URL": launchdarkly.url,
        "TOKEN_KEYS": TokenSealer.generate_key(),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'cookbook'}",
    }
    done = run_program(
        f"import {recipe} as recipe\n{program}",
        folder=RECIPES[recipe],
        environment={name: value for name, value in environment.items() if name not in missing},
        modules=COOKBOOK,
    )
    assert done.returncode == status, done.stderr
    return done.stderr


SET = {"LAUNCHDARKLY_URL": "http://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0", "TOKEN_KEYS": "a-key"}
NEEDS = {
    "chat_page": ["TOKEN_KEYS", "LAUNCHDARKLY_URL"],
    "feedback": ["TOKEN"],
    "judge_task": ["REDIS_URL", "LAUNCHDARKLY_URL", "QUESTION"],
    "judge_worker": ["REDIS_URL", "LAUNCHDARKLY_URL", "QUESTION"],
    "langgraph_server/graph": ["LAUNCHDARKLY_URL"],
    "langserve_app": ["TOKEN_KEYS", "LAUNCHDARKLY_URL"],
    "langserve_client": ["URL"],
    "retrieval_worker": ["REDIS_URL", "LAUNCHDARKLY_URL", "QUESTION"],
    "serverless_function": ["LAUNCHDARKLY_URL"],
}
STARTED_COLD = """
import json, os, runpy, sys

recipes, variables = json.load(sys.stdin)
said = {}
for recipe, missing in recipes:
    os.environ.update(variables)
    os.environ.pop(missing, None)
    sys.argv = [f"{recipe}.py"]
    try:
        runpy.run_path(f"{recipe}.py", run_name="__main__")
    except SystemExit as end:
        said[f"{recipe} {missing}"] = end.code
print(json.dumps(said))
"""


def test_a_recipe_that_starts_cold_names_what_is_missing(tmp_path: Path) -> None:
    """One line says which variable to set, and to what, or which argument to give."""
    starts = [(recipe, missing) for recipe, names in NEEDS.items() for missing in names]
    done = subprocess.run(
        [sys.executable, "-c", STARTED_COLD],
        input=json.dumps([starts, SET]),
        cwd=ROOT / "cookbook",
        env={"HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'cookbook'}"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert list(said) == [f"{recipe} {missing}" for recipe, missing in starts]
    for start, message in said.items():
        _, missing = start.split()
        assert message.startswith("set " if missing in SET else "usage: python "), start
        assert missing in message
        assert "\n" not in message


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_is_killed_loses_nothing(
    recipe: str, launchdarkly: LoopbackLaunchDarkly, tmp_path: Path
) -> None:
    """What a process had recorded when it was killed, the next one claims and sends, once."""
    run(recipe, f"{COUNTED}\nimport os\nos._exit(0)", launchdarkly, tmp_path)

    run(recipe, ENDS[recipe], launchdarkly, tmp_path)

    assert len(launchdarkly.custom_events("$ld:ai:generation:success")) == 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_keeps_its_files_in_a_directory_of_its_own(
    recipe: str, launchdarkly: LoopbackLaunchDarkly, tmp_path: Path
) -> None:
    """The ledger is where no other user can replace it; nothing is left among the temporary files."""
    log = run(recipe, f"{COUNTED}\n{ENDS[recipe]}", launchdarkly, tmp_path)

    (ledger,) = tmp_path.rglob("*-ledger.db")
    assert ledger.is_relative_to(tmp_path / "home")
    assert ledger.parent.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "temporary").iterdir()) == []
    assert "some metrics wait" not in log
    assert (ledger.with_suffix(".events")).stat().st_mode & 0o777 == 0o700
    assert len(launchdarkly.custom_events("$ld:ai:generation:success")) == 1


@pytest.mark.parametrize("lost", ["handler.close", "ai.close"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_tells_what_could_not_be_sent_in_time(
    lost: str, recipe: str, launchdarkly: LoopbackLaunchDarkly, tmp_path: Path
) -> None:
    """Where runs or claims are left at the end, one warning names the ledger, and where they wait."""
    log = run(recipe, f"recipe.{lost} = lambda timeout: False\n{ENDS[recipe]}", launchdarkly, tmp_path)

    assert "some metrics wait in " in log
    assert "-ledger.events" in log
    assert "-ledger.db" in log


@pytest.mark.asyncio
async def test_requests_are_counted_in_a_file_that_workers_share(tmp_path: Path) -> None:
    """Of requests to several storages over one file as many are within the limit as it says, until it is reset."""
    make = runpy.run_path(str(ROOT / "cookbook" / "file_limits.py"))["FileLimits"]
    storages = [make(str(tmp_path / "limits.db")) for _ in range(4)]
    limiters, limit = [FixedWindowRateLimiter(storage) for storage in storages], parse("5/minute")

    answers = await asyncio.gather(*(limiter.hit(limit, "run-1") for limiter in limiters * 3))
    others = await limiters[0].hit(limit, "run-2")
    ends, left = await limiters[1].get_window_stats(limit, "run-1")
    await limiters[0].clear(limit, "run-1")

    assert (sorted(answers), others, left) == ([False] * 7 + [True] * 5, True, 0)
    assert ends > 0
    assert await limiters[1].hit(limit, "run-1")
    assert await storages[0].check()
    await storages[0].reset()
    assert await storages[1].get(limit.key_for("run-2")) == 0


@pytest.mark.asyncio
async def test_a_window_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its time is over, requests are counted anew, and the file does not grow."""
    make = runpy.run_path(str(ROOT / "cookbook" / "file_limits.py"))["FileLimits"]
    path = tmp_path / "limits.db"
    limiter, limit = FixedWindowRateLimiter(make(str(path))), parse("1/minute")

    answers = [await limiter.hit(limit, "run-1"), await limiter.hit(limit, "run-1")]
    now = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: now)
    answers.append(await limiter.hit(limit, "run-2"))
    answers.append(await limiter.hit(limit, "run-1"))

    assert answers == [True, False, True, True]
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM counts").fetchone() == (2,)
    file.close()
