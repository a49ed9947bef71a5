"""The feedback route: what it takes, what it refuses and how, and that each run gets one feedback."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from ldclient import LDClient
from ldclient.config import Config
from limits.aio.storage import MemoryStorage
from starlette.applications import Starlette

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiCompletionConfig
from langchain_ldai._wire import tokens
from langchain_ldai._wire.tokens import GraphRunIdentity, decode, encode
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import feedback_routes
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.conftest import FLAG
from tests.ledgers.fakes import Held, Unreliable
from tests.server.conftest import Open, user_of

pytestmark = pytest.mark.asyncio

POSITIVE, NEGATIVE = "$ld:ai:feedback:user:positive", "$ld:ai:feedback:user:negative"
Run = tuple[str, str]


@pytest.mark.parametrize(("kind", "event"), [("positive", POSITIVE), ("negative", NEGATIVE)])
async def test_feedback_is_recorded_for_its_run_and_user(
    kind: str, event: str, app: Starlette, browser: Open, run: Run, client: RecordingClient
) -> None:
    """One event under the run's id, in the context that the request stands for."""
    run_id, token = run

    answer = await browser(app).post("/feedback", json={"token": token, "kind": kind}, headers={"x-user": "ada"})

    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    assert client.metrics(run_id) == {event: [1]}
    assert client.events[-1].context.key == "ada"


@pytest.mark.parametrize("is_ours", [True, False], ids=["our sealer", "a sealer of another make"])
async def test_a_request_decodes_its_token_once(
    is_ours: bool, ai: LdAiClient, sealer: TokenSealer, browser: Open, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsealing, the route and the tracker know the run from the one time that its token was decoded."""
    run_id, token = run
    if not is_ours:
        plain = str(sealer.unseal(token))
        sealer = SimpleNamespace(seal=sealer.seal, unseal=lambda sealed: plain)
    app = Starlette(routes=feedback_routes(ai, sealer, context_for=user_of))
    tokens._identity_in.cache_clear()
    decode_text, texts = tokens._fields_in, []
    monkeypatch.setattr(tokens, "_fields_in", lambda text: texts.append(text) or decode_text(text))

    answer = await browser(app).post("/feedback", json={"token": token, "kind": "positive"})

    assert answer.status_code == 202
    assert [decode(text).run_id for text in texts] == [run_id]


async def test_a_run_takes_one_feedback(app: Starlette, browser: Open, run: Run, client: RecordingClient) -> None:
    """The second is refused, whatever its kind, also with the token sealed anew."""
    run_id, token = run
    posts = browser(app)

    first = await posts.post("/feedback", json={"token": token, "kind": "positive"})
    second = await posts.post("/feedback", json={"token": token, "kind": "negative"})

    assert (first.status_code, second.status_code) == (202, 409)
    assert second.json()["error"]["code"] == "already_recorded"
    assert client.metrics(run_id) == {POSITIVE: [1]}


async def test_processes_with_one_ledger_take_one_feedback(
    client: RecordingClient, browser: Open, run: Run, sealer: TokenSealer
) -> None:
    """Of fifty requests to two applications at the same time one is accepted."""
    run_id, token = run
    ledger = MemoryLedger()
    apps = [
        Starlette(
            routes=feedback_routes(
                LdAiClient(client, ledger=ledger), sealer, context_for=user_of, limit="100/minute"
            )
        )
        for _ in range(2)
    ]
    posts = [browser(app) for app in apps] * 25

    answers = await asyncio.gather(
        *(post.post("/feedback", json={"token": token, "kind": "positive"}) for post in posts)
    )

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 49
    assert client.metrics(run_id) == {POSITIVE: [1]}


async def test_an_asynchronous_launchdarkly_client_serves_as_well(
    browser: Open, run: Run, sealer: TokenSealer
) -> None:
    """The route works over `AsyncLdAiClient`."""
    client = AsyncRecordingClient({"support-bot": FLAG})
    app = Starlette(routes=feedback_routes(AsyncLdAiClient(client), sealer, context_for=user_of))

    answer = await browser(app).post("/feedback", json={"token": run[1], "kind": "positive"})

    assert answer.status_code == 202
    assert client.metrics(run[0]) == {POSITIVE: [1]}


async def test_the_routes_go_into_a_fastapi_application(
    ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer
) -> None:
    """FastAPI takes them beside its own, at any path."""
    app = FastAPI()
    app.router.routes.extend(feedback_routes(ai, sealer, context_for=user_of, path="/runs/feedback"))

    answer = await browser(app).post("/runs/feedback", json={"token": run[1], "kind": "positive"})
    described = await browser(app).get("/runs/feedback/openapi.json")

    assert answer.status_code == 202
    assert list(described.json()["paths"]) == ["/runs/feedback"]


VALID = '"kind": "positive"'
MALFORMED = {
    "not-json": ("{", "body: Invalid JSON"),
    "not-an-object": ("[]", "body: Input should be an object"),
    "not-utf-8": (b'{"token": "\xff", "kind": "positive"}', "body: Invalid JSON"),
    "half-a-surrogate": ('{"token": "\\ud800", "kind": "positive"}', "body: Invalid JSON"),
    "no-token": ("{" + VALID + "}", "token: Field required"),
    "empty-token": ('{"token": "", ' + VALID + "}", "token: String should match pattern"),
    "token-of-another-type": ('{"token": 7, ' + VALID + "}", "token: Input should be a valid string"),
    "unknown-kind": ('{"token": "t", "kind": "great"}', "kind: Input should be 'positive' or 'negative'"),
    "unknown-field": ('{"token": "t", "user": "me", ' + VALID + "}", "body: Extra inputs are not permitted"),
    "long-comment": (json.dumps({"token": "t", "kind": "positive", "comment": "x" * 1001}), "comment: String"),
}


@pytest.mark.parametrize(("body", "message"), MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_request_is_refused(
    body: str | bytes, message: str, app: Starlette, browser: Open, client: RecordingClient
) -> None:
    """The answer says which field is wrong and quotes nothing that was posted."""
    before = client.events

    answer = await browser(app).post("/feedback", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")
    assert answer.json()["error"]["message"].startswith(message)
    assert len(answer.text) < 200
    assert client.events == before


async def test_a_token_that_was_not_sealed_here_is_refused_alike(
    app: Starlette, browser: Open, config: LdAiCompletionConfig, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain, changed, of another key, garbage: one answer; the log says which, and nothing of the token."""
    caplog.set_level(logging.DEBUG)
    plain = config.create_tracker().resumption_token
    tokens = [plain, run[1][:-8], TokenSealer([TokenSealer.generate_key()]).seal(plain), "garbage"]

    answers = [await browser(app).post("/feedback", json={"token": token, "kind": "positive"}) for token in tokens]

    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert answers[0].json()["error"]["code"] == "invalid_token"
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("langchain_ldai")]
    assert len(set(ours)) == 4
    assert not any(token[:12] in message for token in tokens for message in ours if token != "garbage")


async def test_a_graphs_token_takes_no_feedback(app: Starlette, browser: Open, sealer: TokenSealer) -> None:
    """LaunchDarkly has feedback on runs of AI Configs, not of agent graphs (spec section 7)."""
    token = sealer.seal(encode(GraphRunIdentity("run-1", "travel")))

    answer = await browser(app).post("/feedback", json={"token": token, "kind": "positive"})

    assert answer.status_code == 400
    assert "agent graph" in answer.json()["error"]["message"]


@pytest.mark.parametrize("with_length", [True, False], ids=["content-length", "chunked"])
async def test_a_large_body_is_refused(with_length: bool, app: Starlette, browser: Open) -> None:
    """Above 16 KB no more is read, whether or not the length was announced."""
    sent = []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            sent.append(1024)
            yield b"x" * 1024

    body = b"x" * 16_385 if with_length else chunks()
    answer = await browser(app).post("/feedback", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_taken(content_type: str, app: Starlette, browser: Open, run: Run) -> None:
    """What a form of another site could post is refused; JSON may name its charset."""
    body = json.dumps({"token": run[1], "kind": "positive"}).encode()

    refused = await browser(app).post("/feedback", content=body, headers={"content-type": content_type})
    taken = await browser(app).post(
        "/feedback", content=body, headers={"content-type": "Application/JSON; charset=utf-8"}
    )

    assert (refused.status_code, refused.json()["error"]["code"], taken.status_code) == (415, "not_json", 202)


async def test_other_methods_are_refused(app: Starlette, browser: Open) -> None:
    """The answer is JSON as well and names the one that is allowed."""
    answer = await browser(app).get("/feedback")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_requests_for_one_run_are_limited(
    ai: LdAiClient, browser: Open, config: LdAiCompletionConfig, sealer: TokenSealer
) -> None:
    """A token sealed anew counts as the same; another run has a limit of its own."""
    routes = feedback_routes(ai, sealer, context_for=user_of, limit="2/hour", limit_storage=MemoryStorage())
    posts, one, other = browser(Starlette(routes=routes)), config.create_tracker(), config.create_tracker()

    async def post(plain: str) -> object:
        return await posts.post("/feedback", json={"token": sealer.seal(plain), "kind": "positive"})

    answers = [await post(one.resumption_token) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 409, 429]
    assert answers[2].json()["error"]["code"] == "too_many_requests"
    assert 0 < int(answers[2].headers["retry-after"]) <= 3600
    assert (await post(other.resumption_token)).status_code == 202


@pytest.mark.parametrize("ledger", [Unreliable, Held], ids=["down", "slow"])
async def test_a_ledger_that_does_not_answer_makes_the_route_unavailable(
    ledger: type, client: RecordingClient, browser: Open, run: Run, sealer: TokenSealer, monkeypatch
) -> None:
    """The user is asked to come again, and nothing has been sent."""
    monkeypatch.setattr("langchain_ldai.server.feedback.LEDGER_SECONDS", 0.05)
    shared = ledger()
    ai = LdAiClient(client, ledger=shared, ledger_timeout=1e-9)
    app = Starlette(routes=feedback_routes(ai, sealer, context_for=user_of))

    answer = await browser(app).post("/feedback", json={"token": run[1], "kind": "positive"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "30"
    assert client.metrics(run[0]) == {}
    if isinstance(shared, Held):
        shared.gate.set()
    ai.close(10)


async def test_feedback_that_nothing_keeps_is_not_said_to_be_there(
    browser: Open, run: Run, sealer: TokenSealer, tmp_path: Path
) -> None:
    """An offline client sends no events: a 409 would say that the run has feedback already."""
    events = DurableEvents(tmp_path)
    with LDClient(Config("sdk-key", offline=True, event_processor_class=events)) as ld:
        ai = LdAiClient(ld, delivery=events)
        app = Starlette(routes=feedback_routes(ai, sealer, context_for=user_of))
        answer = await browser(app).post("/feedback", json={"token": run[1], "kind": "positive"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
