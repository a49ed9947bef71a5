"""What holds locks, threads or connections of its process stays there."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.judges import Judges
from langchain_ldai.ledgers import MemoryLedger, SqliteLedger
from langchain_ldai.ledgers.redis import RedisLedger
from langchain_ldai.spans import Spans
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient

OWNERS: dict[str, Callable[[Path], object]] = {
    "LdAiClient": lambda path: LdAiClient(RecordingClient()),
    "AsyncLdAiClient": lambda path: AsyncLdAiClient(AsyncRecordingClient()),
    "LdAiHandler": lambda path: LdAiHandler(lambda metadata: None),
    "DurableEvents": lambda path: DurableEvents(path),
    "MemoryLedger": lambda path: MemoryLedger(),
    "SqliteLedger": lambda path: SqliteLedger(path / "ledger.db"),
    "RedisLedger": lambda path: RedisLedger.from_url("redis://localhost:6379/0"),
    "Judges": lambda path: Judges(LdAiClient(RecordingClient()), model=lambda config: None),
    "Spans": lambda path: Spans(),
}


@pytest.mark.parametrize("name", OWNERS)
def test_a_copy_of_what_belongs_to_a_process_is_itself(name: str, tmp_path: Path) -> None:
    """A program that copies its settings goes on with one and the same (fact 98)."""
    owner = OWNERS[name](tmp_path)

    assert copy.copy(owner) is owner
    assert copy.deepcopy({"owner": [owner]})["owner"][0] is owner


@pytest.mark.parametrize("name", OWNERS)
def test_pickling_what_belongs_to_a_process_says_what_to_do(name: str, tmp_path: Path) -> None:
    """No other process can have it: neither a worker of multiprocessing nor a queue."""
    with pytest.raises(TypeError, match=f"^{name} belongs to its process and cannot be pickled; make one in the "):
        pickle.dumps(OWNERS[name](tmp_path))
