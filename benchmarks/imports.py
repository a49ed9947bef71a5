"""How long `import langchain_ldai` takes where LangChain and LaunchDarkly are imported already."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.measure import Figure

UNWANTED: Final = ("fastapi", "langchain", "langgraph", "starlette")
_SCRIPT: Final = """
import json, sys, time
start = time.perf_counter()
import langchain_core.callbacks, ldclient
base = time.perf_counter()
import langchain_ldai
end = time.perf_counter()
from langchain_ldai import LdAiClient, LdAiHandler
used = time.perf_counter()
modules = sorted({name.partition(".")[0] for name in sys.modules})
spent = {"base": base - start, "ours": end - base, "names": used - end}
print(json.dumps({**{name: 1e3 * spent[name] for name in spent}, "modules": modules}))
"""


def _imported(environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-c", _SCRIPT]
    process = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    printed: dict[str, Any] = json.loads(process.stdout)
    return printed


def measure_imports(rounds: int) -> dict[str, Any]:
    """Return the milliseconds of each import, each round in a fresh process, and which unwanted modules came.

    The package imports its rooms when they are used, so that its own import and that of its main names are
    told apart.

    Args:
        rounds: How many processes.
    """
    with TemporaryDirectory() as folder:
        # Compiled as an installer leaves it, whatever the environment says; the first process compiles.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        taken = [_imported(environment) for _ in range(rounds + 1)][1:]
    medians = {
        f"{name}_ms": Figure.of(each[name] for each in taken).to_json() for name in ("base", "ours", "names")
    }
    least = {f"{name}_least_ms": round(min(each[name] for each in taken), 3) for name in ("ours", "names")}
    seen = {module for each in taken for module in each["modules"]}
    return {**medians, **least, "unwanted_modules": sorted(seen.intersection(UNWANTED))}
