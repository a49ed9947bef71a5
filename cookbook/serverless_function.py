"""A function that is frozen after each answer, and loses no metric: deploy `respond` as its handler.

    LAUNCHDARKLY_SDK_KEY=sdk-... python cookbook/serverless_function.py "How do I switch it off?"

The client is made once, on a cold start, and serves the warm invocations after it. Each invocation waits until
LaunchDarkly has accepted its metrics. What is not accepted in time is in the directory EVENTS_DIRECTORY, and the
next invocation sends it.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context

from feedback import connect
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from needs import arguments
from served_model import model_for

# Most platforms let a function write to the temporary directory alone.
EVENTS = os.environ.get("EVENTS_DIRECTORY") or str(Path(tempfile.gettempdir()) / "ld-events")
FLUSH_SECONDS = float(os.environ.get("FLUSH_SECONDS", "8"))

events = DurableEvents(EVENTS)
ai = LdAiClient(connect(events), delivery=events)


class Answer(TypedDict):
    """What the function answers; the token is for feedback that a process of your own takes."""

    answer: str
    token: str | None


def answer(question: str, user_key: str) -> Answer:
    """Answer a question of a user."""
    config = ai.completion_config("support-bot", Context.create(user_key), variables={"product": "the kettle"})
    if not config.enabled:
        return {"answer": "The assistant is off.", "token": None}
    prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}")])
    chain = prompt | model_for(config) | StrOutputParser()
    handler = LdAiHandler(config)
    with handler.collect_runs() as runs:
        text = chain.invoke({"question": question}, {"callbacks": [handler]})
    handler.close(FLUSH_SECONDS)
    return {"answer": text, "token": runs[0].resumption_token}


def respond(event: Mapping[str, str], context: object) -> Answer:
    """Answer an invocation once its metrics are at LaunchDarkly, also if it fails."""
    try:
        return answer(event["question"], event["user_id"])
    finally:
        if not events.flush(FLUSH_SECONDS):
            print("LaunchDarkly has not accepted all metrics yet: the next invocation sends them", file=sys.stderr)


if __name__ == "__main__":
    (asked,) = arguments("QUESTION")
    print(respond({"question": asked, "user_id": "user-1"}, None)["answer"])
