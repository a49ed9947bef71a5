"""What the benchmark ran on, and with which versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from benchmarks.peers import PEERS

PACKAGES: Final = ("langchain-ldai", "langchain-core", "langchain", "langgraph", "launchdarkly-server-sdk")


def machine() -> dict[str, object]:
    """Return the model of the CPU, how many cores there are, and the system."""
    return {"cpu": _cpu(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that matters and is installed."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *(peer.distribution for peer in PEERS)):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
