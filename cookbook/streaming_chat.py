"""A chat that streams its answers to many users through one handler, and hands each its run's token.

python cookbook/streaming_chat.py
"""

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient
from served_model import model_for

SUPPORT = {
    "_ldMeta": {"enabled": True, "variationKey": "friendly"},
    "model": {"name": "local-parrot"},
    "provider": {"name": "local"},
    "messages": [{"role": "system", "content": "You help {{ldctx.key}} with the kettle."}],
}

client = RecordingClient({"support-bot": SUPPORT})  # in production: ldclient.LDClient(...)
ai = LdAiClient(client)
handler = LdAiHandler(lambda metadata: ai.completion_config("support-bot", Context.create(metadata["user_id"])))


def served(question: dict[str, str], config: RunnableConfig) -> Runnable[dict[str, str], AIMessage] | str:
    """Return prompt and model of the AI Config that the run is counted for; to evaluate again may give another."""
    counted_for = LdAiHandler.current_config(config)
    if not counted_for.enabled:
        return "The assistant is off."
    prompt = ChatPromptTemplate.from_messages([*counted_for.to_messages(), ("user", "{question}")])
    return prompt | model_for(counted_for)


answered: Runnable[dict[str, str], Any] = RunnableLambda(served)  # runs what `served` returns
chain = answered | StrOutputParser()


async def answer(user_id: str, question: str) -> str:
    """Stream the answer to a user, and return the token for the thumbs under it."""
    config: RunnableConfig = {"callbacks": [handler], "metadata": {"user_id": user_id}}
    token = ""
    async for event in chain.astream_events({"question": question}, config, version="v2"):
        token = token or event["metadata"]["ldai_resumption_token"]
        if event["event"] == "on_parser_stream" and event["data"]["chunk"]:
            print(f"{user_id}: {event['data']['chunk']}")
    return token


async def main() -> None:
    """Serve two users at once, then take a thumb from one of them."""
    tokens = await asyncio.gather(*(answer(user, "How do I switch it off?") for user in ("ada", "grace")))

    tracker = ai.create_tracker(tokens[0], Context.create("ada"))
    tracker.track_feedback(Feedback.POSITIVE)

    feedback = client.metrics(tracker.run_id)["$ld:ai:feedback:user:positive"]
    print(f"{len(set(tokens))} runs; ada's feedback: {feedback}")


if __name__ == "__main__":
    asyncio.run(main())
