"""How long `import langchain_ldai` takes where LangChain and LaunchDarkly are imported already."""

import json
import subprocess
import sys
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
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"base": 1e3 * (base - start), "ours": 1e3 * (end - base), "modules": modules}))
"""


def measure_imports(rounds: int) -> dict[str, Any]:
    """Return the milliseconds of both imports, each round in a fresh process, and which unwanted modules came."""
    taken = []
    for _ in range(rounds):
        process = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True)
        taken.append(json.loads(process.stdout))
    times = [each["ours"] for each in taken]
    return {
        "base_ms": Figure.of(each["base"] for each in taken).to_json(),
        "ours_ms": Figure.of(times).to_json(),
        "ours_least_ms": round(min(times), 3),
        "unwanted_modules": sorted(set(UNWANTED).intersection(*(each["modules"] for each in taken))),
    }
