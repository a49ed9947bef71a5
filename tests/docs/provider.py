"""OpenAI on loopback: it answers in three words, at once or as a stream; given tools, it calls one first."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

WORDS: Final = ["Hold", " the", " button"]
USAGE: Final = {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}
ABOUT: Final = {"id": "chatcmpl-1", "created": 1760000000, "model": "gpt-4.1-mini"}


class OpenAi(BaseHTTPRequestHandler):
    """Answers `POST /v1/chat/completions`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("stream"):
            chunks = [json.dumps(chunk) for chunk in _chunks(asked)]
            self._answer("text/event-stream", "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]))
        else:
            self._answer("application/json", json.dumps(_completion(asked)))

    def _answer(self, content_type: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body.encode())))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body.encode())
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


def _tool_calls(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the call of the first tool, unless a tool has answered."""
    if not asked.get("tools") or asked["messages"][-1]["role"] == "tool":
        return []
    function = {"name": asked["tools"][0]["function"]["name"], "arguments": "{}"}
    return [{"index": 0, "id": "call-1", "type": "function", "function": function}]


def _completion(asked: Mapping[str, Any]) -> dict[str, Any]:
    calls = _tool_calls(asked)
    message = {"role": "assistant", "content": None if calls else "".join(WORDS), "refusal": None}
    choice = {"index": 0, "message": {**message, **({"tool_calls": calls} if calls else {})}, "logprobs": None}
    choices = [{**choice, "finish_reason": "tool_calls" if calls else "stop"}]
    return {**ABOUT, "object": "chat.completion", "choices": choices, "usage": USAGE}


def _chunks(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = _tool_calls(asked)
    deltas = [{"tool_calls": calls}] if calls else [{"content": word} for word in WORDS]
    choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    end = [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}]
    about = {**ABOUT, "object": "chat.completion.chunk"}
    return [
        *({**about, "choices": choice} for choice in [*choices, end]),
        {**about, "choices": [], "usage": USAGE},
    ]


@contextmanager
def openai() -> Iterator[str]:
    """Give the base URL of OpenAI's interface."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OpenAi)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
