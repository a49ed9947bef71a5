"""With OpenAI's own package, a decision records what its answer says (fact 158)."""

import json

import pytest

from langchain_ldai import LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.providers.models import KEY
from tests.providers.server import Answer, serving
from tests.support.calls import INVOKED, Call, each, run
from tests.support.chains import SUCCESS, TOKENS, counts

decisions = pytest.importorskip("langchain_openai.decisions", reason="needs a newer langchain-openai")

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]

ANSWER = {
    "model": "gpt-6-luna-2026-09-01",
    "answers": [{"name": "urgent", "type": "predicate", "probability": 0.9}],
    "usage": {"input_tokens": 10, "output_tokens": 3},
}


@each(INVOKED)
async def test_a_decision_has_tokens(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """OpenAI's usage has no total, which is then the sum of its parts."""
    asked = {"input": "Help!", "questions": {"urgent": decisions.Predicate(instructions="Is it urgent?")}}

    with serving(Answer([json.dumps(ANSWER).encode()])) as url:
        model = decisions.OpenAIDecisions(model="gpt-6-luna", api_key=KEY, base_url=f"{url}/v1", max_retries=0)
        await run(call, model, asked, {"callbacks": [handler]})

    (report,) = reports
    assert (report.outcome, report.model_calls, report.models) == (Outcome.SUCCESS, 1, ("gpt-6-luna",))
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}
