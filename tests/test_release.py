"""What the repository holds for a release: a workflow that keeps no secret, and where to report what."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
RELEASE = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text("utf-8"))
STEPS = [step for job in RELEASE["jobs"].values() for step in job["steps"]]


def test_only_the_publishing_job_may_prove_who_it_is() -> None:
    """PyPI trusts the workflow itself: no job has a secret, and the one that builds cannot publish."""
    assert RELEASE["permissions"] == {}
    assert {name: job["permissions"] for name, job in RELEASE["jobs"].items()} == {
        "build": {"contents": "read"},
        "publish": {"id-token": "write"},
    }
    assert "secrets." not in (GITHUB / "workflows" / "release.yml").read_text("utf-8")


def test_what_is_published_is_what_was_built_and_used() -> None:
    """One job builds and uses the wheel, the other publishes those files, each with an attestation."""
    runs = [step["run"] for step in STEPS if "run" in step]

    assert "make wheel" in runs
    assert RELEASE["jobs"]["publish"]["needs"] == "build"
    assert STEPS[-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert STEPS[-1]["with"]["attestations"] is True


def test_each_action_is_pinned_to_a_commit() -> None:
    """A tag of another's repository can be moved."""
    used = [step["uses"] for step in STEPS if "uses" in step]

    assert [action for action in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("name", ["bug_report", "feature_request"])
def test_an_issue_template_asks_for_something(name: str) -> None:
    """GitHub refuses a form without a name, a description or a body; each field has an id of its own."""
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml").read_text("utf-8"))

    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert form["name"]
    assert form["description"]
    assert len(ids) == len(set(ids)) > 0


def test_a_vulnerability_has_a_private_way() -> None:
    """The page names GitHub's own way, and no address that nobody reads."""
    page = (ROOT / "SECURITY.md").read_text("utf-8")

    assert "Report a\nvulnerability" in page
    assert "@" not in page
