"""A chat in a web page: the answer streams, a cookie tells users apart, and a thumb counts for its run.

    export TOKEN_KEYS=$(python -c "from langchain_ldai.sealing import TokenSealer as t; print(t.generate_key())")
    uvicorn --app-dir cookbook chat_page:app              # then open http://127.0.0.1:8000

It needs `pip install uvicorn "langchain-ldai[fastapi]"` and a LaunchDarkly: that of the SDK key in
LAUNCHDARKLY_SDK_KEY, or a local one at the address in LAUNCHDARKLY_URL. The cookie is a random name for a visitor
who has not logged in. Where your users log in, take the user's key from your session instead.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Cookie, Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, StreamingResponse
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from ldclient import Context
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from feedback import connect
from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import SqliteLedger
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server.fastapi import feedback_router
from needs import variable
from own_files import own_file
from served_model import model_for

PAGE = (Path(__file__).parent / "chat_page.html").read_text("utf-8")
LEDGER = os.environ.get("LEDGER_FILE") or own_file("chat-page-ledger.db")
VISITOR = "visitor"

KEYS = variable("TOKEN_KEYS", "a key that seals tokens; this file's first lines say how to make one").split(",")

events = DurableEvents(Path(LEDGER).with_suffix(".events"))
ld = connect(events)
ai = LdAiClient(ld, ledger=SqliteLedger(LEDGER), delivery=events)
sealer = TokenSealer(KEYS)


def config_for(metadata: Mapping[str, Any]) -> LdAiCompletionConfig:
    """Return the AI Config for whom a run is."""
    visitor = Context.builder(metadata["visitor"]).anonymous(True).build()
    return ai.completion_config("support-bot", visitor, variables={"product": "the kettle"})


handler = LdAiHandler(config_for, sealer=sealer)


def served(question: dict[str, str], config: RunnableConfig) -> Runnable[dict[str, str], BaseMessage] | str:
    """Return the prompt and model of the AI Config that the run is counted for."""
    counted_for = LdAiHandler.current_config(config)
    if not counted_for.enabled:
        return "The assistant is off."
    prompt = ChatPromptTemplate.from_messages([*counted_for.to_messages(), ("user", "{question}")])
    return prompt | model_for(counted_for)


answered: Runnable[dict[str, str], Any] = RunnableLambda(served)  # runs what `served` returns
chain = answered | StrOutputParser()


def close() -> None:
    """Close the runs that are open, and send what waits; what is not accepted, the next start sends."""
    handler.close(5)
    ai.close(5)
    ld.close()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """At the end of the server, send what it has recorded."""
    yield
    await run_in_threadpool(close)


def visitor_of(visitor: Annotated[str | None, Cookie()] = None) -> Context:
    """Return whom a request is from, by the cookie that the page brought."""
    if not visitor:
        raise HTTPException(401, "Open the page first")
    return Context.builder(visitor).anonymous(True).build()


class Question(BaseModel):
    """What a visitor asks."""

    question: str = Field(max_length=1_000)


app = FastAPI(lifespan=lifespan)
app.include_router(feedback_router(ai, sealer, context=Depends(visitor_of)))


@app.get("/")
def page(visitor: Annotated[str | None, Cookie()] = None) -> HTMLResponse:
    """Show the page, and give a new visitor a name. Behind HTTPS, add `secure=True` to the cookie."""
    response = HTMLResponse(PAGE)
    if not visitor:
        response.set_cookie(VISITOR, uuid4().hex, max_age=30 * 86_400, httponly=True, samesite="strict")
    return response


@app.post("/chat")
async def chat(asked: Question, visitor: Annotated[Context, Depends(visitor_of)]) -> StreamingResponse:
    """Stream the answer, a JSON object a line: first the run's sealed token, then texts."""

    async def lines() -> AsyncIterator[str]:
        config: RunnableConfig = {"callbacks": [handler], "metadata": {"visitor": visitor.key}}
        token = ""
        async for event in chain.astream_events({"question": asked.question}, config, version="v2"):
            if not token:
                token = event["metadata"]["ldai_resumption_token"]
                yield json.dumps({"token": token}) + "\n"
            if event["event"] == "on_parser_stream":
                yield json.dumps({"text": event["data"]["chunk"]}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")
