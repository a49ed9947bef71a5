"""The command `langchain-ldai`, as a person types it."""

import builtins
import errno
import getpass
import html
import io
import json
import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

import langchain_ldai
from langchain_ldai import _cli
from langchain_ldai._wire import events
from langchain_ldai.dev.configs_file import read_configs
from langchain_ldai.dev.page_files import lines_to_add
from langchain_ldai.dev.store import Store
from tests.dev.conftest import running
from tests.dev.sending import event, simulated
from tests.support.ports import kept_port


class Terminal(io.StringIO):
    """A stream at which a person sits."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is free."""
    with kept_port() as port:
        yield port


def fill(path: Path) -> None:
    """Store 50 runs in a file."""
    store = Store(path)
    store.accept(None, [metric for run in simulated(50) for metric in run])
    store.close()


def stop_after(port: int, seen: list[str], then: Callable[[], object] = lambda: None) -> threading.Thread:
    """Start a thread that reads the page of a server that is to start, does something, and presses Ctrl+C."""

    def press() -> None:
        answers = Retrying(
            wait=wait_fixed(0.05), stop=stop_after_delay(60), retry=retry_if_exception_type(OSError), reraise=True
        )
        with answers(urllib.request.urlopen, f"http://127.0.0.1:{port}/view", timeout=30) as answer:
            seen.append(answer.read().decode())
        then()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_the_demo_prints_the_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """One variation is slower and less liked, and the report says so; without a terminal it asks nothing."""
    assert _cli.main(["demo", "--once"]) == 0

    printed, errors = capsys.readouterr()
    assert printed.startswith(
        "400 simulated runs, to show how two variations of an AI Config are compared\n\nsupport-bot\n"
    )
    assert "(no variation)" not in printed
    lines = printed.splitlines()
    duration = next(number for number, line in enumerate(lines) if line.startswith("Duration, median"))
    assert "noise" not in lines[duration + 1]
    assert errors == ""


COMMANDS = {
    "report": ["report", "--db", "runs.db"],
    "delivery": ["delivery", ".", "status"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_may_stop_reading(here: Path, arguments: list[str]) -> None:
    """`langchain-ldai report | head -1` ends without a traceback, whatever `head` has left unread."""
    fill(here / "runs.db")
    command = subprocess.Popen(
        [sys.executable, "-m", "langchain_ldai", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()

    _, errors = command.communicate(timeout=60)

    assert errors == b""


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_what_nobody_reads_goes_nowhere(here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """The command goes on where its reader has gone: a drain goes on sending."""
    fill(here / "runs.db")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)

        status = _cli.main(arguments)

    assert status == (1 if "report" in arguments else 0)


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_process_may_have_no_output(here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Python has no `sys.stdout` where a service's manager, or `>&-`, has closed it."""
    fill(here / "runs.db")
    monkeypatch.setattr(sys, "stdout", None)

    assert _cli.main(arguments) == 0


def test_the_command_says_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m langchain_ldai` is the same command, where that is not on the path."""
    monkeypatch.setattr(sys, "argv", ["langchain-ldai", "--version"])
    monkeypatch.delitem(sys.modules, "langchain_ldai.__main__", raising=False)  # runpy warns of it

    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("langchain_ldai", run_name="__main__")

    assert capsys.readouterr().out == f"{langchain_ldai.__version__}\n"


def test_delivery_looks_at_a_directory_of_events(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`langchain-ldai delivery` is the same command as `python -m langchain_ldai.delivery`."""
    monkeypatch.setattr(sys, "argv", ["langchain-ldai", "delivery", str(here), "status"])

    assert _cli.main() == 0

    assert capsys.readouterr().out.startswith("waiting: 0 events, 0 bytes\n")


@pytest.mark.parametrize(("answer", "opened"), [("", True), ("Y", True), ("n", False), (None, False)])
def test_the_demo_offers_its_page_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str | None, opened: bool
) -> None:
    """A bar shows the progress; Enter opens the page with the simulated runs, the end of the input does not."""
    started: list[list[str]] = []
    main = _cli.main
    monkeypatch.setattr(sys, "stdin", Terminal("" if answer is None else answer + "\n"))
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    monkeypatch.setattr(
        _cli, "main", lambda arguments: started.append(arguments) or read_configs(Path(arguments[-1]))
    )

    assert main(["demo", "--runs", "20"]) == 0

    assert "] 20 of 20 simulated runs\n" in shown.getvalue()
    assert [arguments[0] for arguments in started] == ["dev"] * opened


def test_ctrl_c_ends_a_command_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status is the one that shells expect."""

    def interrupted(question: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(builtins, "input", interrupted)

    assert _cli.main(["demo", "--runs", "5"]) == 130


def test_dev_starts_with_an_example_and_says_which_lines_to_add(
    here: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory without a file gets the example; Ctrl+C stops the server, and the runs are kept."""
    fill(here / "langchain-ldai.db")
    seen: list[str] = []
    stopper = stop_after(port, seen)

    assert _cli.main(["dev", "--port", str(port)]) == 0

    stopper.join()
    printed = capsys.readouterr().out
    assert "ai-configs.yaml did not exist: it now holds an example." in printed
    assert f"LaunchDarkly on your desk: http://127.0.0.1:{port}\n" in printed
    assert f'url = "http://127.0.0.1:{port}"' in printed
    assert 'completion_config("support-bot"' in printed
    assert json.loads(seen[0])["configs"] == ["support-bot"]
    assert (here / "ai-configs.yaml").read_text().startswith("# The AI Configs")


def test_dev_says_that_a_saved_file_is_served(here: Path, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever mends the file learns from the terminal that the mended one is served."""
    caplog.set_level(logging.NOTSET, "langchain_ldai.dev")  # is set back after the test
    (here / "right.yaml").write_text("bot: {variations: {a: {}}}\n", "utf-8")
    said = "right.yaml was read again: AI Configs that changed: 1"

    def save() -> None:
        (here / "right.yaml").write_text("bot: {variations: {another: {}}}\n", "utf-8")
        told = Retrying(
            wait=wait_fixed(0.05), stop=stop_after_delay(30), retry=retry_if_result(lambda text: not text)
        )
        told(lambda: said in caplog.messages)

    stopper = stop_after(port, [], save)

    assert _cli.main(["dev", "--configs", "right.yaml", "--port", str(port)]) == 0

    stopper.join()
    assert said in caplog.messages


@pytest.mark.parametrize(
    ("modes", "asked"),
    [
        ({"rater": "judge", "helper": "agent"}, 'agent_config("helper"'),
        ({"bot": "completion", "helper": "agent"}, 'completion_config("bot"'),
        ({"desk": "graph", "helper": "agent"}, 'agent_graph("desk"'),
        ({"rater": "judge"}, 'completion_config("support-bot"'),
    ],
)
def test_the_lines_ask_for_an_ai_config_as_what_it_is(modes: dict[str, str], asked: str) -> None:
    """Lines that ask for an agent as a completion, or run a chain for a judge, would get a disabled AI Config."""
    assert f"LdAiClient(client).{asked}, " in lines_to_add("http://127.0.0.1:1", modes, needs_token=False)


WRONG = {
    "host": (["dev", "--host", "0.0.0.0"], "needs --token"),
    "file": (["dev", "--port", "0", "--configs", "wrong.yaml"], "wrong.yaml, line 1: bot is 3"),
    "no file": (
        ["dev", "--port", "0", "--configs", "mistyped.yaml"],
        "mistyped.yaml cannot be read: No such file",
    ),
    "port": (
        ["dev", "--configs", "right.yaml", "--port", "99999"],
        "there is no port 99999; choose one up to 65535",
    ),
    "database": (["dev", "--configs", "right.yaml", "--port", "0", "--db", "wrong.yaml"], "cannot be opened"),
    "database beside no file": (["dev", "--port", "0", "--db", "wrong.yaml"], "cannot be opened"),
    "size": (["dev", "--max-mb", "0"], "--max-mb is 0; give at least 1"),
    "no database": (["report", "--db", "missing.db"], "there is no missing.db"),
    "no server": (["report", "--url", "http://127.0.0.1:1"], "does not answer"),
    "no port": (["report", "--url", "http://127.0.0.1:none"], "does not answer"),
    "no URL": (["report", "--url", "nonsense"], "nonsense does not answer"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_done_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """The message says why, the exit status is 2, and no file is made."""
    (here / "wrong.yaml").write_text("bot: 3\n")
    (here / "right.yaml").write_text("bot: {variations: {a: {}}}\n")

    assert _cli.main(arguments) == 2

    error = capsys.readouterr().err
    assert error.startswith("langchain-ldai: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["right.yaml", "wrong.yaml"]


def test_a_port_that_is_taken_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says how to choose another, and no file is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _cli.main(["dev", "--port", str(port)]) == 2

    error = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}: another program listens there; " in error
    assert "choose another with --host or --port; --port 0 takes a free one" in error
    assert list(here.iterdir()) == []


def test_an_address_that_is_not_here_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message is the system's."""
    assert _cli.main(["dev", "--host", "192.0.2.1", "--token", "secret"]) == 2

    error = capsys.readouterr().err
    assert "cannot listen on 192.0.2.1:8030: " in error
    assert "choose another with --host or --port" in error


def test_an_example_that_cannot_be_written_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the directory does not take the file, the message says so, and no file of runs is made."""
    (here / "ai-configs.yaml").symlink_to(here / "missing" / "file")

    assert _cli.main(["dev", "--port", "0"]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["ai-configs.yaml"]


def test_a_missing_extra_is_named(here: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Without the packages of the extra the command says how to get them; the demo and a text need none."""
    fill(here / "langchain-ldai.db")
    real = builtins.__import__

    def without(name, *given):
        if name.partition(".")[0] in ("leather", "starlette", "uvicorn"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *given)

    for name in [name for name in sys.modules if name.startswith("langchain_ldai.dev.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(langchain_ldai.dev, name.rpartition(".")[2])
    monkeypatch.setattr(builtins, "__import__", without)

    for command in (["dev"], ["report", "--format", "html"]):
        assert _cli.main(command) == 2
        assert 'run: pip install "langchain-ldai[local]"' in capsys.readouterr().err
    assert _cli.main(["report"]) == 0
    assert _cli.main(["demo", "--once", "--runs", "10"]) == 0


@pytest.mark.parametrize("kind", ["text", "html", "json"])
def test_the_report_has_three_forms(here: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """Each shows both variations; the page needs no other file."""
    fill(here / "langchain-ldai.db")

    assert _cli.main(["report", "--format", kind]) == 0

    printed = capsys.readouterr().out
    assert "brief" in printed
    assert "friendly" in printed
    if kind == "json":
        assert [entry["runs"] for entry in json.loads(printed)[0]["variations"]] == [21, 29]
    if kind == "html":
        assert printed.startswith("<!doctype html>")
        assert "href=" not in printed
        assert "<script" not in printed
    assert _cli.main(["report", "--format", kind, "--config", "nothing"]) == 0
    printed = capsys.readouterr().out
    assert "brief" not in printed
    if kind != "json":
        said = html.unescape(printed)
        assert "There are no runs of 'nothing'; there are of 'support-bot'." in said


def test_the_report_reads_a_file_that_cannot_be_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a read-only disk, or where it is another user's: it stays as it is, and nothing is made beside it."""
    fill(here / "langchain-ldai.db")
    before = (here / "langchain-ldai.db").read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setattr(Path, "chmod", _refuse)
    (here / "empty.db").touch()

    assert _cli.main(["report"]) == 0
    assert "friendly" in capsys.readouterr().out
    assert _cli.main(["report", "--db", "empty.db"]) == 2
    assert "it has no tables of this version, and cannot be written" in capsys.readouterr().err

    assert (here / "langchain-ldai.db").read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == ["empty.db", "langchain-ldai.db"]


def test_a_file_that_is_damaged_is_told_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the report finds it only while it reads the runs."""
    fill(here / "langchain-ldai.db")
    with (here / "langchain-ldai.db").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"x" * (size - 4096))

    assert _cli.main(["report"]) == 2

    error = capsys.readouterr().err
    assert error.startswith("langchain-ldai: langchain-ldai.db cannot be read: ")
    assert error.count("\n") == 1


def test_a_file_whose_tables_have_damaged_names_is_told_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite's own message then quotes a name that is no text."""
    fill(here / "langchain-ldai.db")
    content = (here / "langchain-ldai.db").read_bytes()
    (here / "langchain-ldai.db").write_bytes(content.replace(b"tablerunsruns", b"table\xffunsruns"))

    assert _cli.main(["report"]) == 2

    error = capsys.readouterr().err
    assert error.startswith("langchain-ldai: langchain-ldai.db cannot be opened: ")
    assert error.count("\n") == 1


def _refuse(path: Path, mode: int) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def test_the_report_asks_a_running_server(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the token at once, at a terminal by asking for it; else it says that one is needed."""
    with running(here, token="secret") as desk:
        desk.ask("/bulk", [event(events.SUCCESS)], Authorization="secret")
        assert desk.ask("/report?format=odd", Authorization="secret").status == 400
        asked = ["report", "--url", desk.url, "--format", "json"]

        assert _cli.main([*asked, "--token", "secret"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["config"] == "support-bot"
        assert _cli.main(asked) == 2
        assert "answers 401; does it need --token?" in capsys.readouterr().err
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(getpass, "getpass", lambda prompt: "secret")
        assert _cli.main(asked) == 0
        assert json.loads(capsys.readouterr().out)[0]["config"] == "support-bot"


@pytest.mark.parametrize("token", ["s3cret\r", "s3cret\n", "s3cret\u20ac"], ids=ascii)
@pytest.mark.parametrize("command", [["report", "--url", "http://127.0.0.1:1"], ["dev"]], ids=["report", "dev"])
@pytest.mark.parametrize("is_in_environment", [False, True])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
    command: list[str],
    is_in_environment: bool,
) -> None:
    """A file with a line's end behind the secret is a likely source, and Python's own error would show it all."""
    monkeypatch.setenv(_cli.TOKEN_VARIABLE, token if is_in_environment else "")

    with pytest.raises(SystemExit, match="2"):
        _cli.main(command if is_in_environment else [*command, "--token", token])

    error = capsys.readouterr().err
    assert "holds a character that HTTP cannot carry: a line's end?" in error
    assert "s3cret" not in error


def test_the_command_runs_as_a_program() -> None:
    """Its help lists the commands."""
    program = "from langchain_ldai._cli import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; main()", "--help"], capture_output=True, text=True, check=True
    )

    assert all(command in done.stdout for command in ("demo", "dev", "report"))
