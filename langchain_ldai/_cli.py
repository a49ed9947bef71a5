"""The command `langchain-ldai`."""

from __future__ import annotations

import argparse
import getpass
import http.client
import logging
import os
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from langchain_ldai._wire.version import __version__
from langchain_ldai.delivery._command import main as delivery
from langchain_ldai.delivery._command import write_no_more
from langchain_ldai.dev.errors import DevError

if TYPE_CHECKING:
    import socket

    from langchain_ldai.dev.served_configs import ServedConfigs
    from langchain_ldai.dev.server import Address
    from langchain_ldai.dev.store import Store

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

TOKEN_VARIABLE: Final = "LANGCHAIN_LDAI_TOKEN"

_DATABASE: Final = Path("langchain-ldai.db")
_CONFIGS: Final = Path("ai-configs.yaml")
_FORMATS: Final = ("text", "html", "json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status.

    Args:
        arguments: The command's arguments; without them, those of the process.
    """
    parser = argparse.ArgumentParser(prog="langchain-ldai", description="LaunchDarkly AI metrics for LangChain.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (_add_demo, _add_dev, _add_report):
        add(commands)
    commands.add_parser("delivery", help="look at the events that wait in a directory, or send them")
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["delivery"]:
        return delivery(given[1:])
    try:
        options = parser.parse_args(given)
        options.run(options)
        print(end="", flush=True)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        write_no_more()
        return 1
    except ImportError as error:
        problem = f'{error}; run: pip install "langchain-ldai[local]"'
    except DevError as error:
        problem = str(error)
    else:
        return 0
    print(f"langchain-ldai: {problem}", file=sys.stderr)
    return 2


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="compare two variations over simulated runs")
    parser.add_argument("--once", action="store_true", help="print the report, and offer no page")
    parser.add_argument("--runs", type=int, default=400, help="how many runs to simulate (400)")
    parser.set_defaults(run=_demo)


def _add_dev(commands: Commands) -> None:
    parser = commands.add_parser("dev", help="run a LaunchDarkly on this machine, with a page that shows the runs")
    parser.add_argument("--configs", type=Path, help=f"YAML or JSON file of AI Configs ({_CONFIGS})")
    parser.add_argument(
        "--db", type=Path, default=_DATABASE, help=f"SQLite file that keeps the runs ({_DATABASE})"
    )
    parser.add_argument("--max-mb", type=int, default=1024, help="size at which the oldest runs make room (1024)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; beyond loopback it needs --token"
    )
    parser.add_argument("--port", type=int, default=8030, help="port to listen on (8030); 0 for a free one")
    _add_token(parser)
    parser.set_defaults(run=_dev)


def _add_report(commands: Commands) -> None:
    parser = commands.add_parser("report", help="print the comparison of the variations")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--db", type=Path, default=_DATABASE, help=f"SQLite file with the runs ({_DATABASE})")
    source.add_argument("--url", help="address of a running `langchain-ldai dev`, instead of a file")
    parser.add_argument("--config", default="", help="only this AI Config")
    parser.add_argument("--format", choices=_FORMATS, default="text", help="form of the report (text)")
    _add_token(parser)
    parser.set_defaults(run=_report)


def _add_token(parser: argparse.ArgumentParser) -> None:
    meaning = f"secret that SDKs send as their SDK key and the page asks for (${TOKEN_VARIABLE})"
    parser.add_argument("--token", type=_token, default=os.environ.get(TOKEN_VARIABLE, ""), help=meaning)


def _token(text: str) -> str:
    """Return a token, unless it cannot be sent: else Python's own error would show it."""
    if not text.isprintable() or max(text, default="") > "\xff":
        raise argparse.ArgumentTypeError(
            f"the token, perhaps from ${TOKEN_VARIABLE}, holds a character that HTTP cannot carry: a line's end?"
        )
    return text


def _demo(options: argparse.Namespace) -> None:
    from langchain_ldai.dev.configs_file import EXAMPLE
    from langchain_ldai.dev.queries import Filter
    from langchain_ldai.dev.report import report
    from langchain_ldai.dev.simulation import simulated_runs
    from langchain_ldai.dev.store import Store

    with tempfile.TemporaryDirectory() as directory:
        database, configs = Path(directory) / "demo.db", Path(directory) / _CONFIGS
        with closing(Store(database)) as store:
            for number, events in enumerate(simulated_runs(options.runs, int(time.time() * 1000)), 1):
                store.accept(None, events)
                _show_progress(number, options.runs)
            print(f"{options.runs} simulated runs, to show how two variations of an AI Config are compared\n")
            print(report(store, "text", Filter()), end="")
        if not options.once and sys.stdin.isatty() and _says_yes("Open the page with these runs? [Y/n] "):
            configs.write_text(EXAMPLE, "utf-8")
            main(["dev", "--port", "0", "--db", str(database), "--configs", str(configs)])


def _says_yes(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        bar = "#" * (40 * done // total)
        end = "\n" if done == total else ""
        print(f"\r[{bar:40}] {done} of {total} simulated runs", end=end, file=sys.stderr, flush=True)


def _dev(options: argparse.Namespace) -> None:
    """Serve; files are made only once nothing else can fail, so that a command that fails leaves none."""
    from langchain_ldai.dev.served_configs import ServedConfigs
    from langchain_ldai.dev.server import Address, listen
    from langchain_ldai.dev.store import Store

    if options.max_mb < 1:
        raise DevError(f"--max-mb is {options.max_mb}; give at least 1")
    address = Address(options.host, options.port, options.token)
    path = options.configs or _CONFIGS
    is_new = options.configs is None and not path.exists()
    with listen(address) as socket:
        if is_new:
            _write_example(path)
        configs = ServedConfigs(path)
        try:
            store = Store(options.db, max_bytes=options.max_mb << 20)
        except DevError:
            if is_new:
                path.resolve().unlink()
            raise
        if is_new:
            print(f"{path} did not exist: it now holds an example.", end=" ")
            print("Edit it, and connected programs have the change.")
        with closing(store):
            _serve(configs, store, address, socket)


def _write_example(path: Path) -> None:
    from langchain_ldai.dev.configs_file import EXAMPLE

    try:
        path.write_text(EXAMPLE, "utf-8")
    except OSError as error:
        raise DevError(str(error)) from None


def _serve(configs: ServedConfigs, store: Store, address: Address, socket: socket.socket) -> None:
    """Serve until Ctrl+C."""
    from langchain_ldai.dev.page_files import lines_to_add
    from langchain_ldai.dev.server import DevServer

    url = f"http://{address.shown_host}:{socket.getsockname()[1]}"
    print(f"LaunchDarkly on your desk: {url}")
    print(f"It serves {configs.path} and keeps runs in {store.path}. Ctrl+C stops it. Add to your program:\n")
    print(lines_to_add(url, configs.modes, needs_token=bool(address.token)), flush=True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("langchain_ldai.dev").setLevel(logging.INFO)  # says that a saved file is served
    with suppress(KeyboardInterrupt):
        DevServer(configs, store, address.token).run([socket])


def _report(options: argparse.Namespace) -> None:
    if options.url:
        print(_fetched_report(options), end="")
        return
    from langchain_ldai.dev.queries import Filter
    from langchain_ldai.dev.report import report
    from langchain_ldai.dev.store import Store

    if not options.db.exists():
        raise DevError(f"there is no {options.db}; name the file of `langchain-ldai dev` with --db")
    can_write = os.access(options.db, os.W_OK) and os.access(options.db.absolute().parent, os.W_OK)
    with closing(Store(options.db, is_read_only=not can_write)) as store:
        print(report(store, options.format, Filter(options.config)), end="")


def _fetched_report(options: argparse.Namespace) -> str:
    query = urllib.parse.urlencode({"format": options.format, "config": options.config})
    url, token = f"{options.url.rstrip('/')}/report?{query}", options.token
    while True:
        try:
            request = urllib.request.Request(url, headers={"Authorization": token})  # noqa: S310
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 401 or not sys.stdin.isatty():
                raise DevError(f"{options.url} answers {error.code}; does it need --token?") from None
            token = getpass.getpass("Token: ")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DevError(f"{options.url} does not answer: {error}") from None
