"""A LaunchDarkly and an OpenAI on loopback, where the code of the pages looks for the real ones."""

import functools
from collections.abc import Iterator

import pytest
from ldclient.async_config import AsyncConfig
from ldclient.config import Config

from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.docs.provider import openai
from tests.support.serving import addresses


def served(mode: str, variation: str, **parts: object) -> dict[str, object]:
    """Return a flag that serves an AI Config."""
    meta = {"enabled": True, "variationKey": variation, "version": 3, "mode": mode}
    return {"_ldMeta": meta, "model": {"name": "gpt-4.1-mini"}, "provider": {"name": "OpenAI"}, **parts}


SYSTEM = {"role": "system", "content": "You help {{ldctx.name}} with {{product}}."}
FLAGS = {
    "support-bot": served("completion", "friendly", messages=[SYSTEM]),
    "researcher": served("agent", "thorough", instructions="Find what is known."),
    "writer": served("agent", "brief", instructions="Write one sentence."),
    "turned-off": {"_ldMeta": {"enabled": False, "variationKey": "off", "version": 1, "mode": "completion"}},
}


@pytest.fixture
def launchdarkly(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly on loopback, which a client made from nothing but an SDK key finds."""
    with LoopbackLaunchDarkly(FLAGS) as server:
        for config in (Config, AsyncConfig):
            init = functools.partialmethod(config.__init__, diagnostic_opt_out=True, **addresses(server.url))
            monkeypatch.setattr(config, "__init__", init)
        monkeypatch.setenv("LAUNCHDARKLY_SDK_KEY", "sdk-of-the-docs")
        monkeypatch.setenv("TOKEN_KEYS", TokenSealer.generate_key())
        yield server


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An OpenAI on loopback, which LangChain's chat model finds."""
    with openai() as url:
        monkeypatch.setenv("OPENAI_API_KEY", "no-key")
        monkeypatch.setenv("OPENAI_API_BASE", url)
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        yield url
