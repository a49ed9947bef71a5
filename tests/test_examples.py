"""The examples in the docstrings do what they show."""

import asyncio
import doctest
import importlib
import pkgutil

import pytest
from ldclient import Context

import langchain_ldai
from langchain_ldai import AsyncLdAiClient, LdAiClient
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient


def served(mode: str, **parts: object) -> dict[str, object]:
    """Return a flag that serves an AI Config."""
    meta = {"enabled": True, "variationKey": "first", "version": 3, "mode": mode}
    return {"_ldMeta": meta, "model": {"name": "gpt-4.1-mini"}, "provider": {"name": "OpenAI"}, **parts}


FLAGS = {
    "support-bot": served(
        "completion", messages=[{"role": "system", "content": "You help {{ldctx.name}} with {{product}}."}]
    ),
    "triage": served("agent", instructions="Find out who can help."),
    "refunds": served("agent", instructions="Refund up to {{limit}} euros."),
    "relevance": served(
        "judge",
        messages=[{"role": "system", "content": "Rate {{response_to_evaluate}} for {{ldctx.name}}."}],
        evaluationMetricKey="relevance-score",
    ),
    "desk": {
        "_ldMeta": {"enabled": True, "variationKey": "two-agents", "version": 1},
        "root": "triage",
        "edges": {"triage": [{"key": "refunds"}]},
    },
}


def names() -> dict[str, object]:
    """Return what an example finds at hand, beside the names of its module."""
    exported = {name: getattr(langchain_ldai, name) for name in langchain_ldai.__all__}
    client = RecordingClient(FLAGS)
    given = {
        "Context": Context,
        "ai": LdAiClient(client),
        "asyncio": asyncio,
        "client": client,
        "context": Context.builder("user-1").name("Sandy").build(),
        "flags": FLAGS,
    }
    return exported | given


def examples() -> list[doctest.DocTest]:
    """Return the examples in the package's docstrings."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = pkgutil.walk_packages(langchain_ldai.__path__, "langchain_ldai.")
    found = [example for module in modules for example in finder.find(importlib.import_module(module.name))]
    return [example for example in found if example.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_shows_what_it_does(example: doctest.DocTest) -> None:
    """Each example of a docstring runs as it is, and gives what is shown under it."""
    example.globs |= names()
    if ".AsyncLdAiClient." in example.name:
        example.globs["ai"] = AsyncLdAiClient(AsyncRecordingClient(FLAGS))
    printed: list[str] = []

    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=printed.append)

    assert not failed, "".join(printed)
