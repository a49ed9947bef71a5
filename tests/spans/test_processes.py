"""Spans and forks."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PROGRAM = """
import os
from uuid import uuid4
from langchain_core.outputs import LLMResult
from ldclient import Context
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.spans import Spans
from langchain_ldai.testing import RecordingClient
from tests.support.traces import Trace

def begin():
    root, call = uuid4(), uuid4()
    handler.on_chain_start({}, {}, run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
    return root, call

def end(root, call):
    handler.on_llm_end(LLMResult(generations=[]), run_id=call)
    handler.on_chain_end({}, run_id=root)

trace, client = Trace(), RecordingClient({"bot": {"_ldMeta": {"enabled": True}}})
config = LdAiClient(client).completion_config("bot", Context.create("user-1"))
handler = LdAiHandler(config, spans=Spans(tracer_provider=trace.provider))
open_run = begin()
child = os.fork()
if child == 0:
    handler.close()
    end(*open_run)
    end(*begin())
if child:
    os.waitpid(child, 0)
print("child" if child == 0 else "parent", *trace.paths(), flush=True)
if child:
    end(*open_run)
    print("parent", *trace.paths())
"""


def test_a_forked_process_ends_none_of_its_parents_spans() -> None:
    """It makes its own, and the parent ends the others."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    both = "invoke_agent invoke_agent/chat"
    assert sorted(printed.splitlines()) == [f"child {both}", "parent", f"parent {both}"]
