"""A graph for a LangGraph server whose runs are counted in LaunchDarkly: `langgraph dev` in this folder.

Without an account, `langgraph dev` needs `pip install "langgraph-cli[inmem]"`, and this file a LaunchDarkly: that
of the SDK key in LAUNCHDARKLY_SDK_KEY, or a local one at the address in LAUNCHDARKLY_URL.

The handler, like the graph, is made once a process: it holds the runs that are open. Whom a run is for is in its
metadata, `client.runs.stream(..., metadata={"user_id": "ada"})`. A run whose worker was lost is repeated by the
server; by `run_ids` and the ledger nothing of it counts twice, whichever process repeats it. Several hosts share
a `RedisLedger`. Events wait in a directory beside the ledger until LaunchDarkly has accepted them.
"""

import atexit
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from langgraph.config import get_config
from langgraph.graph import START, MessagesState, StateGraph
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import SqliteLedger

sys.path.insert(0, str(Path(__file__).parent.parent))  # for this recipe's neighbours
from feedback import connect
from own_files import own_file
from served_model import model_for

LEDGER = os.environ.get("LEDGER_FILE") or own_file("langgraph-server-ledger.db")
EVENTS = str(Path(LEDGER).with_suffix(".events"))

events = DurableEvents(EVENTS)
ld = connect(events)
ai = LdAiClient(ld, ledger=SqliteLedger(LEDGER), delivery=events)


def config_for(metadata: Mapping[str, object]) -> LdAiCompletionConfig:
    """Return the AI Config for whom a run is."""
    user = Context.create(str(metadata.get("user_id", "anonymous")))
    return ai.completion_config("support-bot", user, variables={"product": "the kettle"})


handler = LdAiHandler(config_for, run_ids=lambda metadata: metadata.get("run_id"))


@atexit.register
def close() -> None:
    """At the end of the server, send what it has recorded."""
    if not all([handler.close(5), ai.close(5)]):
        logging.getLogger(__name__).warning(
            "some metrics wait in %s, as they were not claimed within 5 s: can the ledger %s be written?",
            EVENTS,
            LEDGER,
        )
    ld.close()


async def answer(state: MessagesState) -> dict[str, object]:
    """Answer the last message with the prompt and model of the AI Config that the run is counted for."""
    served = LdAiHandler.current_config(get_config())
    if not served.enabled:
        return {"messages": [("assistant", "The assistant is off.")]}
    return {"messages": [await model_for(served).ainvoke([*served.to_messages(), *state["messages"]])]}


builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")

graph = builder.compile().with_config(callbacks=[handler])
