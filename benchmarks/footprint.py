"""What is not timed in pairs: the memory of a run, and the time that `import langchain_ldai` takes."""

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from contextvars import copy_context
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.arms import NO_OP, NONE
from benchmarks.cases import close, opened
from benchmarks.measure import Arm, figure

_PASSES: Final = 3
_SENDERS: Final = 5
"""Threads with which a LaunchDarkly client sends; each keeps what it sent last."""
_UNWANTED: Final = {"fastapi", "langchain", "langgraph", "starlette"}
_IMPORTED: Final = ("langchain_core.callbacks, ldclient", "langchain_ldai", "LdAiClient, LdAiHandler")
_IMPORT: Final = """
import json, sys, time
start = time.perf_counter()
import langchain_core.callbacks, ldclient
base = time.perf_counter()
import langchain_ldai
end = time.perf_counter()
from langchain_ldai import LdAiClient, LdAiHandler
spent = [base - start, end - base, time.perf_counter() - end]
print(json.dumps([[1e3 * taken for taken in spent], [name.partition(".")[0] for name in sys.modules]]))
"""


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _held(arm: Arm, count: int) -> dict[str, float]:
    passes = []
    for _ in range(1 + _PASSES):
        before = _traced()
        runs = opened(arm.callbacks, count)
        while_open = _traced()
        close(runs)
        del runs
        for _ in range(1 + _SENDERS):
            arm.settle()
        passes.append({"open": (while_open - before) / count, "completed": (_traced() - before) / count})
    # The first pass fills what is filled once, such as caches.
    return {when: median(each[when] for each in passes[1:]) for when in ("open", "completed")}


def memory(arms: Iterable[Arm], count: int) -> dict[str, dict[str, float]]:
    """Return the bytes of one of so many runs, while open and once completed, beyond those with the baseline."""
    tracemalloc.start()
    try:
        held = {arm.name: copy_context().run(_held, arm, count) for arm in arms if arm.name != NONE}
    finally:
        tracemalloc.stop()
    least = held.pop(NO_OP)
    return {name: {when: round(size[when] - least[when], 1) for when in least} for name, size in held.items()}


def imports(processes: int) -> dict[str, Any]:
    """Return the milliseconds of each import, over so many fresh processes, and which unwanted modules came.

    The package imports its parts when they are used, so that its own import and that of its main names are told
    apart.
    """
    with TemporaryDirectory() as folder:
        # Compiled as an installer leaves it, whatever the environment says; the first process compiles.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-c", _IMPORT]
        runs = [subprocess.check_output(command, text=True, env=environment) for _ in range(1 + processes)]
    taken, modules = zip(*(json.loads(printed) for printed in runs[1:]), strict=True)
    spent = dict(zip(_IMPORTED, zip(*taken, strict=True), strict=True))
    return {
        "ms": {name: figure(values) for name, values in spent.items()},
        "least_ms": {name: round(min(values), 3) for name, values in spent.items()},
        "unwanted_modules": sorted(_UNWANTED.intersection(name for each in modules for name in each)),
    }
