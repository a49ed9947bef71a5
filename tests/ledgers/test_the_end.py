"""How long a process that ends waits for a ledger."""

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient
from langchain_ldai.errors import LedgerUnavailableError
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.ledgers import _claim_queue as claim_queue
from langchain_ldai.testing import RecordingClient
from tests.ledgers.fakes import Hangs, Unreliable
from tests.support.chains import SUCCESS
from tests.support.programs import run_program
from tests.support.threads import join_threads, start_no_thread

AT_THE_END = """
import sys, threading
from langchain_ldai import LdAiClient
from langchain_ldai.ledgers import _claim_queue as claim_queue
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient
from ldclient import Context

claim_queue.EXIT_SECONDS, claim_queue.LAST_ATTEMPT_SECONDS = 0.0, float(sys.argv[1])
called, looks, is_ending = threading.Event(), threading.Semaphore(0), claim_queue.is_ending

def look():
    "Count how often the queue has seen that the process ends."
    ends = is_ending()
    if ends:
        looks.release()
    return ends

claim_queue.is_ending = look

class Never:
    def claim(self, run, slots, claimant):
        print("called", flush=True)
        called.set()
        if sys.argv[1] == "0":
            threading.Event().wait()
        for _ in range(2):  # at the second look, the seconds for further attempts are over
            looks.acquire()
        raise ConnectionError

ai = LdAiClient(RecordingClient({"support-bot": {"_ldMeta": {"enabled": True}}}), ledger=Never())
config = ai.completion_config("support-bot", Context.create("user-1"))
for _ in range(50):
    config.create_tracker().track_success()
called.wait()
"""


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "did not answer in time"), (60, "cannot be reached")], ids=["hangs", "fails"]
)
def test_the_end_of_a_process_waits_for_one_attempt(seconds: int, said: str) -> None:
    """No attempt begins after the seconds for it, the attempt under way has some more, and one line tells it."""
    ended = run_program(AT_THE_END, seconds)

    assert (ended.returncode, ended.stdout) == (0, "called\n")
    (line,) = ended.stderr.splitlines()
    assert f"50 metrics dropped: the ledger {said}" in line


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Give what makes the queue see that the process ends."""
    event = threading.Event()
    monkeypatch.setattr(claim_queue, "is_ending", event.is_set)
    monkeypatch.setattr(claim_queue, "EXIT_SECONDS", 0.2)
    monkeypatch.setattr(claim_queue, "LAST_ATTEMPT_SECONDS", 0.2)
    return event


def test_a_call_that_never_returns_does_not_hold_the_end_up(
    client: RecordingClient,
    context: Context,
    hangs: Callable[[int], Hangs],
    ending: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever waits then is given up together, and told in one line."""
    ledger = hangs(1)
    ai = LdAiClient(client, ledger=ledger)
    config = ai.completion_config("support-bot", context)
    recorded = [config.create_tracker().record_feedback(Feedback.POSITIVE) for _ in range(3)]
    assert ledger.was_asked.wait(10)

    ending.set()

    assert all(isinstance(each.exception(10), LedgerUnavailableError) for each in recorded)
    join_threads("claims")
    assert [message.partition(":")[0] for message in caplog.messages] == ["3 metrics dropped"]


def test_claims_that_wait_for_their_next_attempt_do_not_hold_the_end_up(
    client: RecordingClient, context: Context, unreliable: Unreliable, ending: threading.Event
) -> None:
    """A worker that waits beyond the last moment finds that nobody waits for it."""
    ai = LdAiClient(client, ledger=unreliable)
    recorded = ai.completion_config("support-bot", context).create_tracker().record_feedback(Feedback.POSITIVE)

    ending.set()

    assert isinstance(recorded.exception(10), LedgerUnavailableError)
    assert ai.close(10)
    join_threads("ledger")


def be_last_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every thread end that keeps the process."""
    over = threading.Thread()
    monkeypatch.setattr(threading, "main_thread", lambda: over)
    monkeypatch.setattr(threading, "enumerate", lambda: [over])


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no thread, as Python 3.12 does once the main thread has ended, whatever other threads there are."""
    over = threading.Thread()
    monkeypatch.setattr(threading, "main_thread", lambda: over)
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)


@pytest.mark.parametrize("end", [be_last_thread, refuse_threads])
def test_a_claim_at_the_end_is_made_at_once(
    end: Callable[[pytest.MonkeyPatch], None],
    client: RecordingClient,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is made where it is handed in."""
    end(monkeypatch)
    tracker = LdAiClient(client, ledger=MemoryLedger()).completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_a_ledger_that_is_down_at_the_end_is_given_up(
    client: RecordingClient,
    context: Context,
    unreliable: Unreliable,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process that ends is held up for so many seconds, and not for `ledger_timeout`."""
    be_last_thread(monkeypatch)
    monkeypatch.setattr(claim_queue, "EXIT_SECONDS", 0.0)
    ai = LdAiClient(client, ledger=unreliable)

    ai.completion_config("support-bot", context).create_tracker().track_success()

    assert [record.levelname for record in caplog.records] == ["ERROR"]


AS_PYTHON_ENDS = """
from ldclient import Context
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.runnables import RunnableLambda
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient

class Client(RecordingClient):
    def track(self, name, context, data=None, metric_value=None):
        if "runId" in (data or {}):
            print(name, flush=True)

ai = LdAiClient(Client({"support-bot": {"_ldMeta": {"enabled": True}}}), ledger=MemoryLedger())
config = ai.completion_config("support-bot", Context.create("user-1"))
"""
LEFT_OPEN = {
    "stream": """
handler = LdAiHandler(config)
model = GenericFakeChatModel(messages=iter(["a b c"]))
stream = (RunnableLambda(lambda text: text) | model).stream("Hi", {"callbacks": [handler]})
next(stream)
""",
    "finalizer": """
class Owner:
    tracker = config.create_tracker()
    def __del__(self):
        self.tracker.track_success()
owner = Owner()
""",
}


@pytest.mark.parametrize("program", LEFT_OPEN.values(), ids=LEFT_OPEN)
def test_what_ends_only_as_python_does_holds_the_end_up_no_more(program: str) -> None:
    """Python starts no thread then: the claim is made where it is handed in."""
    ended = subprocess.run(
        [sys.executable, "-c", AS_PYTHON_ENDS + program], capture_output=True, text=True, timeout=120, check=True
    )

    assert "$ld:ai:" in ended.stdout
