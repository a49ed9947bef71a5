"""What the tests of chat models share: keys of providers, and AWS's descriptions of its services, read once."""

import functools
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def aws_is_read_once() -> Iterator[None]:
    """Read a description once, not for each client: LangChain's package makes a session for each."""
    if not find_spec("botocore"):
        yield
        return
    from botocore.loaders import JSONFileLoader

    read = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", staticmethod(read))
        yield


@pytest.fixture(autouse=True)
def provider_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every provider a key from the environment, as an application would."""
    for name in ("OPENAI", "AZURE_OPENAI", "ANTHROPIC", "GOOGLE", "MISTRAL", "GROQ"):
        monkeypatch.setenv(f"{name}_API_KEY", "no-key")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "no-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "no-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
