"""The feedback route keeps what its OpenAPI document says, whatever is posted, and through a real server."""

import re
import threading
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
import uvicorn
from ldclient import Context
from starlette.applications import Starlette

from langchain_ldai import LdAiClient
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import feedback_openapi, feedback_routes
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.server.conftest import user_of

SEALER = TokenSealer([TokenSealer.generate_key()])
CLIENT = RecordingClient({"support-bot": FLAG})
AI = LdAiClient(CLIENT)
APP = Starlette(routes=feedback_routes(AI, SEALER, context_for=user_of, limit="10/minute"))

described = schemathesis.openapi.from_asgi("/feedback/openapi.json", APP)
described.config.seed = 7
described.config.generation.update(max_examples=100)
rejection = described.config.checks.negative_data_rejection
rejection.expected_statuses = [*rejection.expected_statuses, "413"]  # a token may be too long to be read at all


@described.hook
def map_body(context, body):
    """Put a token that was sealed here in place of some that could be one, so that feedback is accepted."""
    token = body.get("token") if isinstance(body, dict) else None
    if isinstance(token, str) and len(token) % 2 and re.fullmatch("[A-Za-z0-9_.=-]{1,4096}", token):
        tracker = AI.completion_config("support-bot", Context.create("user-1")).create_tracker()
        return {**body, "token": SEALER.seal(tracker.resumption_token)}
    return body


@described.parametrize()
def test_the_route_answers_as_it_is_described(case) -> None:
    """Each answer has a status, content type and body of the document, to good requests and to bad ones."""
    case.call_and_validate()


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a real server of the application."""
    server = uvicorn.Server(
        uvicorn.Config(APP, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(60)


def test_a_real_server_takes_feedback(address: str) -> None:
    """Over HTTP: taken once, refused above 16 KB, described."""
    tracker = AI.completion_config("support-bot", Context.create("user-1")).create_tracker()
    body = {"token": SEALER.seal(tracker.resumption_token), "kind": "positive"}

    with httpx.Client(base_url=address, timeout=60) as http:
        statuses = [http.post("/feedback", json=posted).status_code for posted in (body, body)]
        too_large = http.post("/feedback", json={**body, "comment": "x" * 20_000})
        document = http.get("/feedback/openapi.json").json()

    assert statuses == [202, 409]
    assert too_large.status_code == 413
    assert document == feedback_openapi()
    assert CLIENT.metrics(tracker.run_id) == {"$ld:ai:feedback:user:positive": [1]}
