"""Runs Python programs without the second that their imports take."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Final

from tests.support.fork_server import shared_server

CHAINS: Final = (
    "langchain_core.callbacks.manager",
    "langchain_core.language_models.fake_chat_models",
    "langchain_core.output_parsers.string",
    "langchain_core.prompts.chat",
    "langchain_core.runnables.passthrough",
    "langchain_core.tracers.event_stream",
    "langchain_core.tracers.langchain",
    "langchain_ldai._configs.client",
    "langchain_ldai._runs.handler",
    "langchain_ldai.delivery",
    "langchain_ldai.ledgers.sqlite",
    "langchain_ldai.testing",
    "redis",
    "tests.delivery.journals",
)
"""What most programs import."""

COOKBOOK: Final = (
    *CHAINS,
    "langgraph.graph",
    "langchain.agents",
    "langserve",
    "langchain_ldai.server.fastapi",
    "uvicorn",
)
"""What the recipes of the cookbook import."""


def run_program(
    code: str,
    *arguments: object,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    modules: tuple[str, ...] = CHAINS,
    timeout: float = 120,
) -> "subprocess.CompletedProcess[str]":
    """Run a program as `python -W ignore -c` does, but in a process that has imported some modules already.

    Args:
        code: The program.
        arguments: What follows in `sys.argv`.
        folder: Where it runs; by default where this process does.
        environment: Its variables; by default those of this process.
        modules: What it has imported already.
        timeout: After so many seconds it is killed, and `TimeoutError` raised.
    """
    with TemporaryDirectory() as name:
        output, errors = Path(name) / "output", Path(name) / "errors"
        worker = shared_server(*modules).start(
            output,
            _execute,
            code=code,
            arguments=[str(each) for each in arguments],
            folder=str(folder or Path.cwd()),
            environment=dict(os.environ if environment is None else environment),
            errors=str(errors),
        )
        try:
            status = worker.wait(timeout)
        except TimeoutError:
            worker.kill()
            raise
        return subprocess.CompletedProcess(code, status, output.read_text("utf-8"), errors.read_text("utf-8"))


def meet(place: Path, count: int) -> None:
    """Wait in a program until so many have come to a place, a folder that each of them makes."""
    place.mkdir(exist_ok=True)
    (place / str(os.getpid())).touch()
    latest = time.monotonic() + 60
    while len(list(place.iterdir())) < count:
        assert time.monotonic() < latest, f"fewer than {count} have come"
        time.sleep(0.001)


def _execute(code: str, arguments: list[str], folder: str, environment: dict[str, str], errors: str) -> None:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    sys.path[:0] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    program = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(code, "<program>", "exec"), program.__dict__)
