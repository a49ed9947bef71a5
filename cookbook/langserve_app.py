"""A LangServe application that counts its runs in LaunchDarkly and takes its users' feedback.

    pip install "langchain-ldai[server]" "langserve[server]" uvicorn
    uvicorn --app-dir cookbook langserve_app:app --workers 4

/bound has the handler bound to its chain, /chat gets it for each request. Of what is added for a request LangServe
keeps, for /batch, only what `config_keys` names. Both routes give the sealed token of each run in /stream_events,
and in the header X-LDAI-Resumption-Token of /invoke and /batch. POST /feedback takes it back, in any worker: they
share a ledger and the key that seals.

Without an account, LAUNCHDARKLY_URL is the address of a local LaunchDarkly; else LAUNCHDARKLY_SDK_KEY is needed.
The header X-User stands for whom your gateway has authenticated; what a client says of itself is no identity.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langserve import add_routes
from ldclient import Context
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback import connect
from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.ledgers import SqliteLedger
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import feedback_routes
from local_model import LocalModel

LEDGER = os.environ.get("LEDGER_FILE", str(Path(tempfile.gettempdir()) / "langserve-ledger.db"))
KEYS = os.environ["TOKEN_KEYS"].split()  # made once, by TokenSealer.generate_key(), and kept as secrets are

client = connect()
ai = LdAiClient(client, ledger=SqliteLedger(LEDGER))
sealer = TokenSealer(KEYS)


def user_of(request: Request) -> Context:
    """Return whose request it is."""
    user = request.headers.get("x-user")
    if not user:
        raise HTTPException(401, "Who are you?")
    return Context.create(user)


def config_for(metadata: Mapping[str, Any]) -> LdAiCompletionConfig:
    """Return the AI Config for whom a run is."""
    return ai.completion_config("support-bot", Context.create(metadata["user"]))


handler = LdAiHandler(config_for, sealer=sealer)


class TokenHeader:
    """Puts the sealed tokens of the runs that a request made into a header of its answer.

    The answer to /invoke or /batch begins once their runs have ended, in the context in which the request came.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with handler.collect_runs() as runs:

            async def send_with_tokens(message: Message) -> None:
                if message["type"] == "http.response.start":
                    tokens = [sealer.seal(run.resumption_token).encode() for run in runs]
                    message["headers"] += [(b"x-ldai-resumption-token", token) for token in tokens]
                await send(message)

            await self.app(scope, receive, send_with_tokens)


def with_user(config: dict[str, Any], request: Request) -> dict[str, Any]:
    """Say in a run's metadata whose request it is."""
    return {**config, "metadata": {**config.get("metadata", {}), "user": user_of(request).key}}


def with_handler(config: dict[str, Any], request: Request) -> dict[str, Any]:
    """Give a run the handler, too."""
    return {**with_user(config, request), "callbacks": [handler]}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Deliver what is on its way before the worker ends."""
    yield
    await run_in_threadpool(close)


def close() -> None:
    """Close the runs that wait for a model call, wait for the ledger, and deliver."""
    handler.flush(5)
    ai.close(5)
    client.close()


chain = (
    ChatPromptTemplate.from_messages([("user", "{question}")])
    | LocalModel(model="local-parrot")
    | StrOutputParser()
)
app = FastAPI(lifespan=lifespan)
app.add_middleware(TokenHeader)
app.router.routes.extend(feedback_routes(ai, sealer, context_for=user_of))
add_routes(
    app,
    chain.with_config(callbacks=[handler]),
    path="/bound",
    per_req_config_modifier=with_user,
    config_keys=["configurable", "metadata"],
)
add_routes(
    app,
    chain,
    path="/chat",
    per_req_config_modifier=with_handler,
    config_keys=["configurable", "metadata", "callbacks"],
)
