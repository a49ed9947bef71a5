"""The guide to the local LaunchDarkly shows what works."""

import re
from pathlib import Path

import pytest
from langchain_core.language_models import FakeListChatModel
from ldclient.config import Config

from langchain_ldai.dev.configs_file import read_configs
from langchain_ldai.dev.queries import Filter, latest_runs
from tests.dev.conftest import Desk

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "on-your-desk.md"


def test_the_guides_file_is_served(tmp_path: Path) -> None:
    """The AI Configs that the guide shows can be served as they are, and its picture is there."""
    text = GUIDE.read_text("utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "ai-configs.yaml"
    path.write_text(shown, "utf-8")

    flags = read_configs(path)

    assert [len(flags["support-bot"][name]) for name in ("variations", "rules")] == [2, 1]
    for picture in re.findall(r"\]\((images/[^)]*)\)", text):
        assert (GUIDE.parent / picture).is_file()


def beside_desk() -> str:
    """Return what the README puts in the place of `Config(...)`."""
    (config,) = re.findall(r'`(Config\("sdk-dev", .+?\))`', (ROOT / "README.md").read_text("utf-8"))
    return config


def test_the_readmes_example_needs_no_key_beside_the_desk(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """With the two changes that the README names, its first example makes a run that arrives, without any key."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (example, *_) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (model,) = re.findall(r"`(FakeListChatModel\(.+?\))`", readme)
    changed = example.replace('Config(os.environ["LAUNCHDARKLY_SDK_KEY"])', beside_desk())
    changed = changed.replace("create_chat_model(config)", model)

    exec(compile(changed, "README", "exec"), {"url": desk.url, "FakeListChatModel": FakeListChatModel})

    assert capsys.readouterr().out.startswith("Hold the button\nsuccess ")
    (run,) = latest_runs(desk.store, Filter(), 10)
    assert (run.config, run.outcome) == ("support-bot", "success")


def test_the_example_of_nodes_finds_its_agents_in_the_example_file(desk: Desk) -> None:
    """The file that the command writes serves both agents, so that each node has a run."""
    page = (ROOT / "docs" / "how-to" / "nodes.md").read_text("utf-8")
    (example, *_) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    changed = example.replace('Config(os.environ["LAUNCHDARKLY_SDK_KEY"])', beside_desk())
    changed = changed.replace("create_chat_model(served)", 'FakeListChatModel(responses=["Known"])')
    names = {"url": desk.url, "FakeListChatModel": FakeListChatModel}

    exec(compile(changed, "nodes", "exec"), names)
    names["ld"].close()

    runs = latest_runs(desk.store, Filter(), 10)
    assert sorted((run.config, run.outcome) for run in runs) == [("researcher", "success"), ("writer", "success")]


def test_a_connection_outlives_the_pause_between_two_flushes(desk: Desk) -> None:
    """An SDK that sends on a connection which ends just then warns of an error, and tries again."""
    assert desk.server.config.timeout_keep_alive > 2 * Config("sdk-any").flush_interval
