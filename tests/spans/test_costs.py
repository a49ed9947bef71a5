"""What spans cost where there are none."""

import subprocess
import sys

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.spans import Spans
from tests.conftest import FLAG
from tests.support.cost import ForgetfulClient, run_price


def test_spans_cost_next_to_nothing_where_no_provider_is_set() -> None:
    """A run executes at most 2 % more bytecodes than without them."""
    ai = LdAiClient(ForgetfulClient({"support-bot": FLAG}))
    config = ai.completion_config("support-bot", Context.create("user-1"))

    assert run_price(LdAiHandler(config, spans=Spans())) <= 1.02 * run_price(LdAiHandler(config))


def test_without_spans_nothing_of_opentelemetry_is_imported() -> None:
    """Neither for the handler nor for a run."""
    code = """
import sys
import langchain_core.callbacks, langchain_core.outputs
from uuid import uuid4
from ldclient import Context
before = set(sys.modules)
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient
client = RecordingClient({"bot": {"_ldMeta": {"enabled": True}}})
handler = LdAiHandler(LdAiClient(client).completion_config("bot", Context.create("user-1")))
root, call = uuid4(), uuid4()
handler.on_chain_start({}, {}, run_id=root, metadata={})
handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
handler.on_llm_end(langchain_core.outputs.LLMResult(generations=[]), run_id=call)
handler.on_chain_end({}, run_id=root)
print(len(client.events), [name for name in set(sys.modules) - before if name.startswith("opentelemetry")])
"""

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    count, found = printed.split(maxsplit=1)
    assert int(count) > 0
    assert found.strip() == "[]"


def test_without_opentelemetry_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not a module that the reader does not know."""
    for name in [name for name in sys.modules if name.startswith("langchain_ldai.spans")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)

    with pytest.raises(ImportError, match=r'pip install "langchain-ldai\[otel\]"'):
        import langchain_ldai.spans  # noqa: F401
