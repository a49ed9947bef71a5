"""A client of the LangServe application: it streams an answer, then sends a thumb for it.

python langserve_client.py http://localhost:8000
"""

import asyncio
import sys

import httpx
from langserve import RemoteRunnable


async def main(address: str) -> None:
    """Ask, print the answer as it comes, and say that it was good."""
    headers = {"x-user": "ada"}
    remote = RemoteRunnable(f"{address}/chat", headers=headers)
    token = ""
    async for event in remote.astream_events({"question": "How do I switch it off?"}, version="v2"):
        token = event["metadata"].get("ldai_resumption_token", token)
        if event["event"] == "on_chat_model_stream":
            print(event["data"]["chunk"].content, end="", flush=True)
    async with httpx.AsyncClient(base_url=address, headers=headers) as http:
        answer = await http.post("/feedback", json={"token": token, "kind": "positive"})
    print(f"\nfeedback: {answer.status_code}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
