"""Ask the LangServe recipe and like the answer: `python langserve_client.py http://127.0.0.1:8000 ada`."""

import asyncio

import httpx
from langserve import RemoteRunnable

from needs import arguments


async def main(url: str, user: str) -> None:
    """Stream an answer, and give feedback on it with the token of its run."""
    headers = {"X-Authenticated-User": user}  # in production your gateway's doing
    chat: RemoteRunnable[dict[str, str], str] = RemoteRunnable(f"{url}/chat", headers=headers)
    token = ""
    async for event in chat.astream_events({"question": "How do I switch it off?"}):
        token = event["metadata"]["ldai_resumption_token"]
        if event["event"] == "on_parser_stream":
            print(event["data"]["chunk"], end="", flush=True)

    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        response = await client.post("/feedback", json={"token": token, "kind": "positive"})
    print(f"\nfeedback: {response.json()['status']}")


if __name__ == "__main__":
    asyncio.run(main(*arguments("URL", "USER")))
