"""A LangServe server whose runs are counted in LaunchDarkly, and that takes feedback on them.

    export TOKEN_KEYS=$(python -c "from langchain_ldai.sealing import TokenSealer as t; print(t.generate_key())")
    uvicorn --app-dir cookbook langserve_app:app --workers 4

It needs `pip install "langserve[all]" uvicorn "langchain-ldai[server]"` and a LaunchDarkly: that of the SDK key
in LAUNCHDARKLY_SDK_KEY, or a local one at the address in LAUNCHDARKLY_URL. Each worker imports this file, and so
has a client and a handler of its own; they share the keys, the ledger (a file, LEDGER_FILE) and the counts of
feedback requests (a file beside it), and the directory in which events wait until LaunchDarkly has accepted them
(beside it, too). Several hosts share a `RedisLedger` and a `limits.aio.storage.RedisStorage`.

The chain is served in two ways. At `/bound` the handler belongs to the chain, and a request adds whom it is for;
at `/chat` a request adds both. What it adds must be in `config_keys`, or LangServe drops it for a batch; what the
client says there itself is replaced. Whom a request is for is in a header that only your gateway sets.

A run has one id for LangServe and for LaunchDarkly. Its token, sealed, is in the metadata of each event of
`/stream_events`; for `/invoke` and `/batch` it is in a header of the response, beside one with the run's id, which
LangServe names in the body. `/stream` starts to answer before its run starts, and tells the id alone. Mind that
`/stream_events` and `/stream_log` show a client every step and its prompts: `add_routes(disabled_endpoints=...)`.
"""

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langserve import add_routes
from ldclient import Context
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback import connect
from file_limits import FileLimits
from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import SqliteLedger
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import feedback_routes
from needs import variable
from own_files import own_file
from served_model import model_for

LEDGER = os.environ.get("LEDGER_FILE") or own_file("langserve-ledger.db")
EVENTS = str(Path(LEDGER).with_suffix(".events"))
MOST_TOKENS = 10  # a response's headers hold: each has some 400 bytes, and proxies take 4 KB or 8 KB

KEYS = variable("TOKEN_KEYS", "a key that seals tokens; this file's first lines say how to make one").split(",")

events = DurableEvents(EVENTS)
ld = connect(events)
ai = LdAiClient(ld, ledger=SqliteLedger(LEDGER), delivery=events)
sealer = TokenSealer(KEYS)
limits = FileLimits(str(Path(LEDGER).with_suffix(".limits.db")))


def config_for(metadata: Mapping[str, Any]) -> LdAiCompletionConfig:
    """Return the AI Config for whom a run is."""
    return ai.completion_config(
        "support-bot", Context.create(metadata["user_id"]), variables={"product": "the kettle"}
    )


handler = LdAiHandler(config_for, sealer=sealer, run_ids="root")


def user_of(request: Request) -> str:
    """Return whom a request is from."""
    user = request.headers.get("X-Authenticated-User")
    if not user:
        raise HTTPException(401, "Who are you?")
    return user


def context_of(request: Request) -> Context:
    """Return whose feedback a request brings."""
    return Context.create(user_of(request))


def for_user(config: dict[str, Any], request: Request) -> dict[str, Any]:
    """Add whom a run is for."""
    return {**config, "metadata": {"user_id": user_of(request)}}


def counted_for_user(config: dict[str, Any], request: Request) -> dict[str, Any]:
    """Add whom a run is for, and the handler."""
    return {**for_user(config, request), "callbacks": [handler]}


class TokensInHeaders:
    """Adds the tokens of the runs that end before the response starts to its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; its runs start in this context, whatever other requests do at the same time."""
        with handler.collect_runs() as runs:

            async def send_with_tokens(message: Message) -> None:
                if message["type"] == "http.response.start" and len(runs) <= MOST_TOKENS:
                    headers = MutableHeaders(scope=message)
                    for run in runs:
                        headers.append("X-LDAI-Run-Id", run.run_id)
                        headers.append("X-LDAI-Resumption-Token", run.resumption_token)
                await send(message)

            await self.app(scope, receive, send_with_tokens)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """At the end of a worker, send what it has recorded."""
    yield
    await run_in_threadpool(close)


def close() -> None:
    """Close the runs that are open, wait for the ledger, and deliver."""
    if not all([handler.close(5), ai.close(5)]):
        logging.getLogger(__name__).warning(
            "some metrics wait in %s, as they were not claimed within 5 s: can the ledger %s be written?",
            EVENTS,
            LEDGER,
        )
    ld.close()


def serve(chat_model: Callable[[LdAiCompletionConfig], BaseChatModel]) -> FastAPI:
    """Return an application that answers questions with the model that it is given for an AI Config."""

    def served(question: dict[str, str], config: RunnableConfig) -> Runnable[dict[str, str], BaseMessage] | str:
        """Return the prompt and model of the AI Config that the run is counted for."""
        counted_for = LdAiHandler.current_config(config)
        if not counted_for.enabled:
            return "The assistant is off."
        prompt = ChatPromptTemplate.from_messages([*counted_for.to_messages(), ("user", "{question}")])
        return prompt | chat_model(counted_for)

    answered: Runnable[dict[str, str], Any] = RunnableLambda(served)  # runs what `served` returns
    chain = answered | StrOutputParser()
    app = FastAPI(lifespan=lifespan)
    app.add_middleware(TokensInHeaders)
    app.router.routes.extend(feedback_routes(ai, sealer, context_for=context_of, limit_storage=limits))
    add_routes(
        app,
        chain.with_config(callbacks=[handler]),
        path="/bound",
        config_keys=["metadata"],
        per_req_config_modifier=for_user,
    )
    add_routes(
        app,
        chain,
        path="/chat",
        config_keys=["metadata", "callbacks"],
        per_req_config_modifier=counted_for_user,
    )
    return app


app = serve(model_for)
