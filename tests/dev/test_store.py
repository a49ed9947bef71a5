"""What is stored of the events that arrive, and how often."""

import os
import re
import sqlite3
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import stop_after_delay

from langchain_ldai._wire import events
from langchain_ldai.dev import database
from langchain_ldai.dev import store as store_module
from langchain_ldai.dev.arrivals import arrivals
from langchain_ldai.dev.database import used_bytes
from langchain_ldai.dev.queries import Filter, all_runs, configs, latest_runs, run_with_metrics
from langchain_ldai.dev.store import Store, StoreError
from tests.dev.sending import NOON, event, full_disk, simulated


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of its own."""
    store = Store(tmp_path / "runs.db")
    yield store
    store.close()


def test_a_run_has_one_row_a_metric(store: Store) -> None:
    """What arrives in two batches becomes one run; parts of a resumed run add up, and the first outcome stands."""
    first = [event(events.DURATION, 100), event(events.TIME_TO_FIRST_TOKEN, 7), event(events.SUCCESS)]
    second = [
        event(events.DURATION, 50, at=NOON + 5),
        event(events.TIME_TO_FIRST_TOKEN, 9),
        event(events.ERROR),
        event(events.TOOL_CALL, toolKey="search"),
        event(events.TOOL_CALL, toolKey="search"),
        event(events.TOOL_CALL, toolKey="look_up"),
    ]

    assert [store.accept("one", first), store.accept("two", second)] == [1, 1]

    (run,) = latest_runs(store, Filter(), 10)
    assert (run.run_id, run.config, run.variation, run.version) == ("run-1", "support-bot", "friendly", 2)
    assert (run.duration, run.first_token, run.outcome, run.tool_calls) == (150, 7, "success", 3)
    assert (run.context, run.started, run.ended) == ("user-1", NOON, NOON + 5)
    found = run_with_metrics(store, run.id)
    assert found is not None
    assert [(metric.name, metric.detail, metric.value) for metric in found[1]] == [
        (events.ERROR, "", 1),
        (events.SUCCESS, "", 1),
        (events.TIME_TO_FIRST_TOKEN, "", 16),
        (events.TOOL_CALL, "look_up", 1),
        (events.TOOL_CALL, "search", 2),
        (events.DURATION, "", 150),
    ]
    assert run_with_metrics(store, 99) is None


def test_values_add_up_beyond_what_a_whole_number_holds(store: Store) -> None:
    """Within a batch and over several; a batch of such values is stored like any other."""
    batch = [event(events.DURATION, 2**53 - 1)] * 1100

    for _ in range(2):
        assert store.accept(None, batch) == 1

    assert latest_runs(store, Filter(), 1)[0].duration == pytest.approx(2200 * 2**53)


def test_a_batch_that_comes_twice_counts_once(store: Store) -> None:
    """The payload's id tells; batches without one are all new."""
    batch = [event(events.DURATION, 100)]

    assert [store.accept(name, batch) for name in ("one", "one", None, None)] == [1, 0, 1, 1]
    assert latest_runs(store, Filter(), 1)[0].duration == 300


def test_runs_outlive_the_store(tmp_path: Path) -> None:
    """Another start finds the runs and the ids of the batches."""
    for expected in (1, 0):
        store = Store(tmp_path / "deep" / "runs.db")
        assert store.accept("one", [event(events.SUCCESS)]) == expected
        assert configs(store) == ["support-bot"]
        store.close()


def test_many_can_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Each finds its tables, whoever makes them, and what each stores is there."""

    def store_one(number: int) -> None:
        store = Store(tmp_path / "runs.db")
        store.accept(None, [event(events.SUCCESS, run=f"run-{number}")])
        store.close()

    with ThreadPoolExecutor(8) as starters:
        list(starters.map(store_one, range(8)))

    store = Store(tmp_path / "runs.db")
    assert len(list(all_runs(store, Filter()))) == 8
    store.close()


class Overtaken(sqlite3.Connection):
    """A connection to a new file, whose tables another process makes after the first look at it."""

    overtake: ClassVar[list[Callable[[], object]]]

    def execute(self, statement: str, *values: object) -> Any:
        """Execute a statement, and let the other process go on after it."""
        rows = super().execute(statement, *values).fetchall()
        while self.overtake:
            self.overtake.pop()()
        return SimpleNamespace(fetchall=lambda: rows)


def test_tables_that_another_process_makes_meanwhile_are_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two looks that tell whose a file is, its tables may appear: it is no other program's file."""
    path, connect = tmp_path / "runs.db", sqlite3.connect
    monkeypatch.setattr(Overtaken, "overtake", [lambda: Store(path).close()], raising=False)

    def overtaken(*given: Any, **options: Any) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite3, "connect", connect)
        return connect(*given, factory=Overtaken, **options)

    monkeypatch.setattr(sqlite3, "connect", overtaken)
    store = Store(path)
    store.accept(None, [event(events.SUCCESS)])

    assert len(list(all_runs(store, Filter()))) == 1
    store.close()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Whoever asks after the end gets an error, and does not wait."""
    store = Store(tmp_path / "runs.db")
    store.close()

    for ask in (lambda: configs(store), store.data_version, lambda: store.accept(None, [event(events.SUCCESS)])):
        with pytest.raises(StoreError, match=re.escape(str(store.path))):
            ask()


def test_a_file_that_was_deleted_takes_no_runs(tmp_path: Path) -> None:
    """They would be gone with it; whoever sends them is told, and another start finds a file of its own."""
    store, other = Store(tmp_path / "runs.db"), None
    store.accept(None, [event(events.SUCCESS)])
    for found in tmp_path.iterdir():
        found.unlink()

    for _ in range(2):
        with pytest.raises(StoreError, match="was deleted or replaced; start this command again; nothing of"):
            store.accept(None, [event(events.SUCCESS, run="late")])
        assert "deleted" in store.problem
        other = other or Store(tmp_path / "runs.db")

    assert other.accept(None, [event(events.SUCCESS)]) == 1
    store.close()
    assert len(latest_runs(other, Filter(), 10)) == 1
    other.close()


def test_a_file_that_another_process_upgrades_is_no_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cannot wait so long is told to try again."""
    path = tmp_path / "runs.db"
    monkeypatch.setattr(database, "_SECONDS_TO_WAIT", 0.1)
    monkeypatch.setattr(database.prepare.retry, "stop", stop_after_delay(0.1))  # type: ignore[attr-defined]
    with closing(sqlite3.connect(path)) as upgrading:
        upgrading.execute("PRAGMA journal_mode = WAL")
        upgrading.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreError, match="locked; another process uses it, or upgrades it, which may take"):
            Store(path)


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    """The file and those that SQLite writes beside it, also where the file was there before."""
    path = tmp_path / "runs.db"
    path.touch(0o644)
    store = Store(path)
    store.accept(None, [event(events.SUCCESS)])

    assert {stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3
    store.close()


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    """Another program's database, a file that is none and a path that cannot be each name the remedy."""
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (id)")
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_text("x" * 5000)
    text.chmod(0o640)

    for path in (other, text, text / "below"):
        with pytest.raises(StoreError, match=r"cannot be opened: .*; name another file with --db"):
            Store(path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o640)
    with pytest.raises(StoreError, match="it is no regular file"):
        Store(pipe)
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o640
    assert text.read_text() == "x" * 5000
    assert stat.S_IMODE(text.stat().st_mode) == 0o640


def test_any_name_is_that_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that SQLite takes for a database in memory."""
    monkeypatch.chdir(tmp_path)
    for expected in (1, 0):
        store = Store(Path(":memory:"))
        assert store.accept("one", [event(events.SUCCESS)]) == expected
        store.close()

    assert [found.name for found in tmp_path.iterdir()] == [":memory:"]


def test_the_oldest_runs_make_room(tmp_path: Path) -> None:
    """The file stays within its bound, and the newest runs are there."""
    store = Store(tmp_path / "runs.db", max_bytes=400_000)
    for number, batch in enumerate(simulated(1200)):
        store.accept(str(uuid.UUID(int=number)), batch)

    runs = list(all_runs(store, Filter()))
    assert 100 < len(runs) < 1100
    assert runs[-1].run_id == "run-1199"
    assert (tmp_path / "runs.db").stat().st_size < 500_000
    store.close()
    empty = Store(tmp_path / "tiny.db", max_bytes=1)
    assert empty.accept("one", []) == 0
    empty.close()


def test_a_file_that_is_far_too_large_shrinks_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch waits until all has made room: its SDK would give up."""
    monkeypatch.setattr(store_module, "_SECONDS_TO_MAKE_ROOM", 0.0)
    store = Store(tmp_path / "runs.db")
    store.accept(None, [metric for run in simulated(2000) for metric in run])
    store.close()

    store, left = Store(tmp_path / "runs.db", max_bytes=300_000), [2000]
    for number in range(300):
        store.accept(None, [event(events.SUCCESS, run=f"new-{number}")])
        left += [len(store.select("SELECT id FROM runs", {}))]

    assert left[1] > 1500
    assert left[-1] < 1000
    assert used_bytes(store._writer) <= 300_000
    store.close()


def test_the_log_beside_the_file_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while somebody always reads, each beginning before another ends."""
    monkeypatch.setattr(database, "_LONGEST_LOG", 1_000_000)
    store, log, lengths = Store(tmp_path / "runs.db"), tmp_path / "runs.db-wal", [0]
    stopped = threading.Event()

    def read() -> None:
        while not stopped.is_set():
            with store.reading() as select:
                select("SELECT count(*) FROM runs", {})
                stopped.wait(0.02)

    with ThreadPoolExecutor(2) as readers:
        readers.submit(read)
        stopped.wait(0.01)
        readers.submit(read)
        for number in range(100):
            store.accept(None, [metric for run in simulated(50, number, f"config-{number}") for metric in run])
            lengths.append(log.stat().st_size)
        stopped.set()

    assert max(lengths) < 15_000_000  # without the bound 24 MB
    store.close()


def test_ids_of_batches_make_room_too(tmp_path: Path) -> None:
    """Runs that come one by one are not crowded out by the ids of their batches."""
    store = Store(tmp_path / "runs.db", max_bytes=250_000)
    for number in range(2000):
        store.accept(str(uuid.UUID(int=number)), [event(events.SUCCESS, run=f"run-{number}")])

    ((runs,),) = store.select("SELECT count(*) FROM runs", {})
    ((payloads,),) = store.select("SELECT count(*) FROM payloads", {})
    assert 200 < runs < 1500
    assert 200 < payloads < 1500
    assert store.accept(str(uuid.UUID(int=1999)), [event(events.SUCCESS, run="again")]) == 0
    store.close()


def test_a_full_disk_stores_no_half_batch(store: Store) -> None:
    """The batch fails as a whole, and the same batch is taken once there is room again."""
    batch = [metric for run in simulated(3000) for metric in run]
    with full_disk(200_000), pytest.raises(StoreError, match="nothing of the batch was stored"):
        store.accept("one", batch)

    assert latest_runs(store, Filter(), 1) == []
    assert store.accept("one", batch) == 3000
    assert len(list(all_runs(store, Filter()))) == 3000


def test_feedback_counts_once(store: Store) -> None:
    """A run takes one feedback, whether it comes from the page or from a program."""
    store.accept(None, [event(events.SUCCESS), event(events.FEEDBACK_NEGATIVE, run="run-2")])
    rated, unrated = latest_runs(store, Filter(), 2)

    assert store.add_feedback(unrated.id, events.FEEDBACK_POSITIVE)
    assert not store.add_feedback(unrated.id, events.FEEDBACK_NEGATIVE)
    assert not store.add_feedback(rated.id, events.FEEDBACK_POSITIVE)
    with pytest.raises(KeyError):
        store.add_feedback(99, events.FEEDBACK_POSITIVE)
    assert [run.feedback for run in latest_runs(store, Filter(), 2)] == [-1, 1]


UNUSABLE = [
    {},
    {"kind": "identify"},
    {**event("x"), "data": None},
    {**event("x"), "key": 3},
    {**event("x"), "key": "x" * 301},
    {**event("x"), "metricValue": True},
    {**event("x"), "metricValue": float("nan")},
    {**event("x"), "metricValue": 10**400},
    event(events.DURATION, -1),
    event("x", runId=None),
    event(events.SUCCESS, configKey=None),
]


@pytest.mark.parametrize("unusable", UNUSABLE, ids=str)
def test_an_event_of_no_run_is_passed_over(store: Store, unusable: dict[str, object]) -> None:
    """It does not keep the rest of its batch from being stored."""
    assert store.accept(None, [unusable, event(events.SUCCESS)]) == 1


def test_what_an_older_sdk_sends_at_once_is_one_run(store: Store) -> None:
    """Without a `runId`, context and second tell runs apart."""
    batch = [
        event(events.DURATION, 100, runId=None),
        event(events.SUCCESS, runId=None, at=NOON + 999),
        event(events.SUCCESS, runId=None, at=NOON + 1000),
        {**event(events.SUCCESS, runId=None), "context": {"kind": "user", "key": "user-2"}},
    ]

    assert store.accept(None, batch) == 3

    durations = {run.run_id: run.duration for run in latest_runs(store, Filter(), 10)}
    assert durations == {
        f"no runId: user-1 at {NOON // 1000}": 100,
        f"no runId: user-1 at {NOON // 1000 + 1}": None,
        f"no runId: user-2 at {NOON // 1000}": None,
    }


CONTEXTS = [
    ({"contextKeys": {"user": "sandy"}}, "sandy"),
    ({"contextKeys": {"org": "acme", "user": "sandy"}}, "org:acme:user:sandy"),
    ({"contextKeys": None}, ""),
    ({"context": {"kind": "org", "key": "acme"}}, "org:acme"),
    ({"context": {"kind": "multi", "org": {"key": "acme"}, "user": {"key": "sandy"}}}, "org:acme:user:sandy"),
]


@pytest.mark.parametrize(("context", "shown"), CONTEXTS, ids=lambda value: str(value))
def test_every_form_of_a_context_is_read(context: dict[str, object], shown: str) -> None:
    """Older SDKs send keys, newer ones the context; a kind shows unless it is the user alone."""
    sent = event(events.SUCCESS)
    del sent["context"]

    (arrival,) = arrivals([{**sent, **context}], NOON)

    assert arrival.context == shown


def test_times_are_those_of_the_events_unless_they_lie_ahead() -> None:
    """An event without a time, or from a clock that is ahead or was never set, happened now."""
    times = (NOON - 1, NOON + 99, None, -5, 0, 86_400_000)

    found = [arrivals([{**event(events.SUCCESS), "creationDate": at}], NOON)[0].first_ms for at in times]

    assert found == [NOON - 1, *[NOON] * 5]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def filling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that takes more and more."""
    store = Store(tmp_path_factory.mktemp("store") / "runs.db")
    yield store
    store.close()


@given(changed=st.dictionaries(st.sampled_from([*event("x"), "contextKeys"]), JSON), data=JSON)
def test_no_event_is_too_strange(filling: Store, changed, data) -> None:
    """Whatever JSON a client sends, storing the batch does not fail."""
    strange = {**event(events.DURATION), **changed}
    given = dict.fromkeys(("variationKey", "version", "toolKey", "graphKey", "modelName"), data)

    assert filling.accept(None, [strange, event(events.TOOL_CALL, **given), event("x", run="a\ud800")]) >= 2
