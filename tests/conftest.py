"""What most tests start from: a recording client that serves one AI Config, and a handler for it."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import certifi
import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai._runs import lifetime
from langchain_ldai.testing import RecordingClient
from tests.support.threads import join_threads

# A slow machine says nothing of the package. In CI the examples are the same each time, as Hypothesis has it.
ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", ANY_SPEED, max_examples=10_000)
settings.register_profile("default", ANY_SPEED, max_examples=100, derandomize="CI" in os.environ)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.load_profile(PROFILE)
NIGHTLY = PROFILE == "nightly"
"""Whether tests that are of a size take the larger one."""

TESTS = Path(__file__).parent
UNTRACED = (
    "deployments",
    "docs",
    "faults",
    "fuzz",
    "langchain",
    "providers",
    "test_benchmarks.py",
    "test_notebook.py",
)
"""Tests of the whole: those of the package's rooms cover every line without them, and a trace takes time."""

FLAG = {
    "_ldMeta": {"enabled": True, "variationKey": "friendly", "version": 3, "mode": "completion"},
    "model": {"name": "small-1"},
    "provider": {"name": "acme"},
    "messages": [{"role": "system", "content": "You help {{ldctx.name}}."}],
}

Track = Callable[..., LdAiHandler]


@pytest.fixture
def context() -> Context:
    """A user."""
    return Context.builder("user-1").name("Sandy").build()


@pytest.fixture
def client() -> RecordingClient:
    """A stand-in for `LDClient` that serves the AI Config `support-bot`, and the same for two nodes of a graph."""
    return RecordingClient(dict.fromkeys(("support-bot", "writer", "critic"), FLAG))


@pytest.fixture
def ai(client: RecordingClient) -> LdAiClient:
    """A client of AI Configs over the recording one."""
    return LdAiClient(client)


@pytest.fixture
def config(ai: LdAiClient, context: Context) -> LdAiCompletionConfig:
    """The AI Config `support-bot`."""
    return ai.completion_config("support-bot", context)


@pytest.fixture
def writer(ai: LdAiClient, context: Context) -> LdAiCompletionConfig:
    """The AI Config of a node."""
    return ai.completion_config("writer", context)


@pytest.fixture
def critic(ai: LdAiClient, context: Context) -> LdAiCompletionConfig:
    """The AI Config of another node."""
    return ai.completion_config("critic", context)


@pytest.fixture
def reports() -> list[RunReport]:
    """The reports of the runs of `handler`, as they end."""
    return []


@pytest.fixture
def handler(config: LdAiCompletionConfig, reports: list[RunReport]) -> LdAiHandler:
    """A handler that reports to `reports`."""
    return LdAiHandler(config, on_run_end=reports.append)


@pytest.fixture
def track(
    config: LdAiCompletionConfig, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> Iterator[Track]:
    """Make handlers that report to `reports`; after the test, none has an open run or has logged anything."""
    made: list[LdAiHandler] = []

    def make(source: object = config, **options: object) -> LdAiHandler:
        made.append(LdAiHandler(source, on_run_end=reports.append, **options))
        return made[-1]

    yield make
    for handler in made:
        assert handler.flush()
        assert handler.open_runs == 0
    entries = [entry for phase in ("setup", "call") for entry in caplog.get_records(phase)]
    assert [entry.message for entry in entries if entry.name.startswith("langchain_")] == []


@pytest.fixture
def take_seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give what lets so many seconds pass for the runs of handlers; by themselves none do."""
    passed = [1000.0]
    monkeypatch.setattr(lifetime, "monotonic", lambda: sum(passed))
    return passed.append


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Once its work is done, no thread of the ledger's is there."""
    yield
    join_threads("claims")


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let each client of a provider read one root certificate, not all: no test reaches beyond loopback."""
    first, end, _ = Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("authority") / "root.pem"
    file.write_text(first + end, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Keep the latter of the two traces that pytest-cov starts in a worker: `no_cover` halts only that one."""
    kept = Coverage.current()
    while coverage := Coverage.current():
        coverage.stop()
    if kept:
        kept.start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of what is around the package untraced."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in UNTRACED:
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """Leave the modules of all tests out of each collection of garbage, of which `flush` and `close` make one."""
    _leave_out_of_collections()


@pytest.fixture(scope="module", autouse=True)
def nothing_older_is_collected() -> Iterator[None]:
    """Leave out also what the tests of a file have imported, such as a provider's package."""
    yield
    _leave_out_of_collections()


@pytest.fixture(scope="module")
def unfrozen() -> Iterator[None]:
    """After a file that freezes the garbage of its runs, all of it may be collected again."""
    yield
    gc.unfreeze()


def _leave_out_of_collections() -> None:
    gc.collect()
    gc.freeze()
