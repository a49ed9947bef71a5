"""Uses the installed package as a program would, and prints what it found; `make wheel` runs it.

Run it with `python -I`, so that Python finds the package where it is installed and not beside this file.
"""

import json
import sys
from importlib import import_module, metadata
from importlib.resources import files

from langchain_core.language_models import FakeListChatModel
from ldclient import Context

import langchain_ldai
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient

EDGES = ("sealing", "chat_models", "ledgers.redis", "server", "server.fastapi")


def import_edge(name: str) -> str:
    """Return "imported", or what the import of an edge asks for."""
    try:
        import_module(f"langchain_ldai.{name}")
    except ImportError as error:
        return str(error)
    return "imported"


def record_run() -> list[str]:
    """Return the metrics of a run of a chain."""
    client = RecordingClient({"support-bot": {"_ldMeta": {"enabled": True}}})
    handler = LdAiHandler(LdAiClient(client).completion_config("support-bot", Context.create("user-1")))
    with handler.collect_runs() as runs:
        FakeListChatModel(responses=["Hello"]).invoke("Hi", {"callbacks": [handler]})
    return sorted(client.metrics(runs[0].run_id))


if __name__ == "__main__":
    found = {
        "file": langchain_ldai.__file__,
        "version": langchain_ldai.__version__,
        "license": metadata.metadata("langchain-ldai")["License-Expression"],
        "is typed": files(langchain_ldai).joinpath("py.typed").is_file(),
        "metrics": record_run(),
        "edges": {name: import_edge(name) for name in EDGES},
    }
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")
