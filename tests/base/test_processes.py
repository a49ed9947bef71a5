"""A process that ends, forks or can start no thread, and a run that ends in another context than it began in."""

import os
import runpy
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context

import pytest
from langchain_core.outputs import LLMResult

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai._base import exit as process_exit
from langchain_ldai._base import forks
from tests.support.chains import QUESTION, chain
from tests.support.events import start_call, start_chain
from tests.support.programs import run_program
from tests.support.threads import start_no_thread

PROGRAM = """
import os, signal, sys, threading, time
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from ldclient import Context
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.ledgers import _claim_queue as claim_queue
from langchain_ldai.ledgers import MemoryLedger
from tests.support.events import start_call, start_chain

class Client:
    def variation(self, key, context, default):
        return {"_ldMeta": {"enabled": True}}
    def track(self, *event):
        pass

here = os.getpid()
ai = LdAiClient(Client(), ledger=MemoryLedger() if "ledger" in sys.argv else None)
config = ai.completion_config("bot", Context.create("user-1"))

def say(report):
    print("here" if os.getpid() == here else "fork", report.outcome, report.model_calls, flush=True)

handler = LdAiHandler(config, on_run_end=say)
model = GenericFakeChatModel(messages=iter([AIMessage("Hello there")] * 10**6))

def cancelled():
    root = start_chain(handler)
    call = start_call(handler, root)
    handler.on_chain_end({}, run_id=root)
    return call

def opened():
    start_call(handler)
"""


def run_with_handler(code: str, *arguments: str) -> list[str]:
    """Run a program that has a handler, and return what it prints; it must end by itself."""
    done = run_program(f"{PROGRAM}\n{code}", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_stream_that_is_half_read_at_exit_holds_nothing_up() -> None:
    """Python closes what a module still holds when no thread can run any more: nothing waits for one."""
    code = "stream = (model | StrOutputParser()).stream('Hi', {'callbacks': [handler]})\nnext(stream)\n"

    assert run_with_handler(f"{code}print('end')")[0] == "end"


def test_a_run_that_waits_is_closed_at_exit() -> None:
    """What is known of it is recorded before the process ends."""
    assert run_with_handler("cancelled()\nprint('end')") == ["end", "here success 1"]


def test_a_run_that_ends_at_exit_is_closed_at_once() -> None:
    """After the last thread that keeps a process there is none to wait with."""
    assert run_with_handler("import atexit\natexit.register(cancelled)\nprint('end')") == ["end", "here success 1"]


@pytest.mark.parametrize("ledger", ["ledger", ""])
def test_streams_that_are_left_in_circles_hold_nothing_up(ledger: str) -> None:
    """The garbage collector ends them at whatever line it runs, in this handler's own code, too."""
    code = """
import gc
gc.set_threshold(50)
class Holder:
    pass
handler = LdAiHandler(config)
for _ in range(1000):
    holder = Holder()
    holder.itself, holder.stream = holder, model.stream("Hi", {"callbacks": [handler]})
    next(holder.stream)
    config.create_tracker().track_success()
del holder
while handler.flush() and handler.open_runs:  # while another thread collects, this one does not
    gc.collect()
print(ai.close(60), handler.flush(), handler.open_runs)
"""
    assert run_with_handler(code, ledger)[-1] == "True True 0"


def test_a_program_that_outlives_its_main_thread_claims_and_waits_as_before() -> None:
    """While it has threads of its own; or at once, with a Python that then starts none any more, as 3.12."""
    code = """
class Slow(MemoryLedger):
    def claim(self, run, slots, claimant):
        print(threading.current_thread().name.startswith("langchain_ldai"), flush=True)
        return super().claim(run, slots, claimant)

ai = LdAiClient(Client(), ledger=Slow())
config = ai.completion_config("bot", Context.create("user-1"))

def live_on():
    threading.main_thread().join()
    config.create_tracker().track_success()
    print(ai.close(60), flush=True)
    cancelled()
    print([each.daemon for each in threading.enumerate() if each.name == "langchain_ldai-wait"], flush=True)

threading.Thread(target=live_on).start()
"""
    with_threads, without = ["True", "True", "[True]", "here success 1"], ["False", "True", "here success 1", "[]"]
    assert run_with_handler(code) in (with_threads, without)


needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


@needs_fork
@pytest.mark.parametrize("ending", ["sys.exit()", "handler.flush(); os._exit(0)"])
def test_a_forked_process_reports_none_of_its_parents_runs(ending: str) -> None:
    """Those that wait and those that are open are the parent's, or each would be counted twice."""
    code = f"""
cancelled()
opened()
if os.fork() == 0:
    {ending}
os.wait()
handler.flush()
"""
    assert run_with_handler(code) == ["here success 1"]


@needs_fork
@pytest.mark.parametrize("ledger", ["ledger", ""])
def test_a_fork_of_a_busy_process_runs_chains(ledger: str) -> None:
    """A lock that another thread of the parent held at that moment is not waited for."""
    code = """
def busy():
    while True:
        model.invoke("Hi", {"callbacks": [handler]})
        config.create_tracker().track_success()
claim_queue.MAX_PENDING_RUNS = 10**9
handler = LdAiHandler(config)
model.invoke("Hi", {"callbacks": [handler]})  # LangChain imports what it needs, under a lock of its own
for _ in range(4):
    threading.Thread(target=busy, daemon=True).start()
for _ in range(8):
    process = os.fork()
    if process == 0:
        signal.alarm(120)
        model.invoke("Hi", {"callbacks": [handler]})
        config.create_tracker().track_success()
        os._exit(0 if ai.close(100) else 1)
    print(os.waitpid(process, 0)[1])
sys.stdout.flush()
os._exit(0)
"""
    assert run_with_handler(code, ledger) == ["0"] * 8


class Used(forks.PausesForForks):
    """Something that is used, and closed before a fork."""

    closed = 0

    def close_for_fork(self) -> None:
        """Count how often."""
        self.closed += 1


def test_what_pauses_for_forks_is_closed_before_one_and_used_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while a thread forks waits until it has; what was let go before is not asked."""
    hooks: list[dict[str, Callable[[], object]]] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **named: hooks.append(named), raising=False)
    fresh = runpy.run_path(forks.__file__)
    used, gone = (
        type("Used", (fresh["PausesForForks"],), {"close_for_fork": Used.close_for_fork, "closed": 0})()
        for _ in range(2)
    )
    del gone
    done, waits, sleep = threading.Event(), threading.Event(), time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (waits.set(), sleep(seconds)))

    for named in reversed(hooks):
        named["before"]()
    user = threading.Thread(target=used.use, args=(done.set,))
    user.start()
    assert waits.wait(10)
    assert used.closed == 1
    assert not done.is_set()
    for named in hooks:
        named.get("after_in_parent", list)()
    user.join(10)

    assert done.is_set()


def test_a_fork_waits_for_users_and_not_for_ever() -> None:
    """It closes what nobody uses any more, and leaves alone what is used for too long."""
    used, is_used, go_on = Used(), threading.Event(), threading.Event()
    user = threading.Thread(target=used.use, args=(lambda: (is_used.set(), go_on.wait(10)),))
    user.start()
    assert is_used.wait(10)

    used.prepare_fork(time.monotonic() + 0.05)
    assert used.closed == 0
    threading.Timer(0.05, go_on.set).start()
    used.prepare_fork(time.monotonic() + 10)

    assert used.closed == 1
    user.join(10)


def end_run_of_an_open_call(handler: LdAiHandler) -> None:
    """End a run whose model call goes on."""
    root = start_chain(handler)
    start_call(handler, root)
    handler.on_chain_end({}, run_id=root)


def test_many_handlers_wait_with_one_thread(config: LdAiCompletionConfig) -> None:
    """A handler a request is as good as one for all, also where each request is cancelled."""
    before = set(threading.enumerate())
    handlers = [LdAiHandler(config) for _ in range(50)]

    for handler in handlers:
        end_run_of_an_open_call(handler)
    started = set(threading.enumerate()) - before

    assert len(started) <= 1
    for handler in handlers:
        assert handler.flush()
        assert handler.open_runs == 0


def test_where_no_thread_can_be_started_a_run_waits_for_nothing(
    handler: LdAiHandler, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed at once with what is known, and the next one waits again."""
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_no_thread)
        end_run_of_an_open_call(handler)
    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

    end_run_of_an_open_call(handler)
    assert len(reports) == 1
    handler.flush()
    assert len(reports) == 2


def test_collected_reports_survive_another_context(handler: LdAiHandler) -> None:
    """A generator that collects may be read, and closed, in other contexts than it was begun in."""

    def answers() -> Iterator[object]:
        with handler.collect_runs() as runs:
            yield from chain().stream(QUESTION, {"callbacks": [handler]})
            yield runs[0].run_id

    parts = answers()
    read = [copy_context().run(next, parts, None) for _ in range(8)]

    *texts, run_id = filter(None, read)
    assert "".join(texts) == "Hello, world"
    assert len(run_id) == 36


def test_nothing_is_collected_once_the_block_is_left(handler: LdAiHandler) -> None:
    """Also where its context could not be set back."""
    context = copy_context()

    def collecting() -> Iterator[list[RunReport]]:
        with handler.collect_runs() as runs:
            yield runs

    block = collecting()
    runs = context.run(next, block)
    block.close()
    context.run(chain().invoke, QUESTION, {"callbacks": [handler]})

    assert runs == []


def test_a_model_call_that_ends_while_another_thread_waits_is_counted(handler: LdAiHandler) -> None:
    """Waiting costs the call nothing: its end closes the run."""
    with handler.collect_runs() as runs:
        root = start_chain(handler)
    call = start_call(handler, root)
    handler.on_chain_end({}, run_id=root)
    assert runs == []

    handler.on_llm_end(LLMResult(generations=[]), run_id=call)

    assert [report.outcome for report in runs] == [Outcome.SUCCESS]


class Owner:
    """An owner that counts its resets."""

    resets = 0

    def reset_after_fork(self) -> None:
        """Count how often."""
        self.resets += 1


def test_a_forked_process_begins_anew_what_still_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was let go before the fork is not held for it."""
    hooks: dict[str, object] = {}
    monkeypatch.setattr(os, "register_at_fork", lambda **named: hooks.update(named), raising=False)
    fresh = runpy.run_path(forks.__file__)
    owner, gone = Owner(), Owner()
    for each in (owner, gone):
        fresh["register_fork_safe"](each)
    del each, gone

    hooks["after_in_child"]()

    assert owner.resets == 1


def test_where_there_is_no_fork_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)

    assert callable(runpy.run_path(forks.__file__)["register_fork_safe"])


def test_an_interrupt_does_not_make_the_process_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the look whether the main thread is alive: Python 3.11 may take it for ended from then on."""

    class Main:
        def is_alive(self) -> bool:
            monkeypatch.setattr(Main, "is_alive", lambda self: False)
            raise KeyboardInterrupt

    monkeypatch.setattr(threading, "main_thread", Main)
    is_ending = runpy.run_path(process_exit.__file__)["is_ending"]

    with pytest.raises(KeyboardInterrupt):
        is_ending()

    assert not is_ending()


def test_no_thread_is_started_when_python_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 would wait for it for ever."""
    thread = threading.Thread(target=print)
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)

    assert not process_exit.try_to_start(thread)
    assert thread.ident is None
