"""With every provider's own package, the first token is where the first word, thought or tool call is."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import pytest
from langchain_core.language_models.chat_models import BaseChatModel

from langchain_ldai import LdAiHandler
from langchain_ldai.testing import RecordingClient
from tests.providers import models
from tests.providers.server import Answer, aws_events, events, lines, serving
from tests.support.calls import STREAMED, Call, run
from tests.support.chains import FIRST_TOKEN
from tests.support.observe import HAS_V3

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    # Google's package warns of code that the model runs, and OpenAI's client of items it does not know.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

THINKING: Final[Mapping[str, object]] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


class Case(NamedTuple):
    """A streamed answer, the events of it that only announce what comes, and the model's options."""

    make: Callable[..., BaseChatModel]
    answer: Callable[[str], Answer]
    name: str
    announcing: int
    options: Mapping[str, object] = {}


V1: Final[dict[str, Mapping[str, object]]] = {"v1": {"output_version": "v1"}} if HAS_V3 else {}
"""LangChain's own blocks, which LangChain 0.3 does not have."""
CASES: Final = {
    "openai/tool-id": Case(models.openai, events, "openai/tool-id.sse", 2),
    **{
        f"{name} {version}": Case(models.openai_responses, events, f"openai-responses/{name}.sse", count, options)
        for name, count in {"hidden-reasoning": 5, "summary": 3, "web-search": 5}.items()
        for version, options in {"default": {}, "v0": {"output_version": "v0"}, **V1}.items()
    },
    **{
        f"anthropic/{name} {version}": Case(
            models.anthropic, events, f"anthropic/{name}.sse", count, {**THINKING, **options}
        )
        for name, count in {"hidden-thinking": 7, "thinking": 3, "server-tool": 1}.items()
        for version, options in {"default": {}, **V1}.items()
    },
    "google/signature": Case(models.google, events, "google/signature.sse", 1),
    "google/thought": Case(models.google, events, "google/thought.sse", 1),
    "google/code": Case(models.google, events, "google/code.sse", 1),
    "groq/reasoning": Case(models.groq, events, "groq/reasoning.sse", 2),
    "mistral/thinking": Case(models.mistral, events, "mistral/thinking.sse", 3),
    "ollama/thinking": Case(models.ollama, lines, "ollama/thinking.ndjson", 1, {"reasoning": True}),
    "converse/hidden": Case(models.bedrock_converse, aws_events, "bedrock-converse/hidden-reasoning.ndjson", 5),
    "converse/reasoning": Case(models.bedrock_converse, aws_events, "bedrock-converse/reasoning.ndjson", 2),
    "invoke/hidden": Case(models.bedrock_invoke, aws_events, "bedrock-invoke/hidden-thinking.ndjson", 7),
    "invoke/thinking": Case(models.bedrock_invoke, aws_events, "bedrock-invoke/thinking.ndjson", 3),
}
WAYS: Final[dict[str, Call]] = dict(STREAMED)
if HAS_V3:
    WAYS["v3"] = lambda model, value, config: list(model.stream_events(value, config, version="v3"))
else:
    del CASES["converse/hidden"]  # AWS's package for LangChain 0.3 cannot read it


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("beyond", [0, 1], ids=["announced", "first"])
async def test_what_announces_an_answer_is_no_first_token_and_what_follows_is(
    beyond: int, case: Case, way: Call, handler: LdAiHandler, client: RecordingClient
) -> None:
    """A reasoning item without a summary, what is encrypted, a signature, a phase and a call's id are none."""
    if case.make is models.google and models.GOOGLE_MAY_SPEAK_GRPC:
        pytest.skip("for LangChain 0.3, Google's package streams in another form")
    answer = case.answer(case.name).cut_after(case.announcing + beyond)

    with pytest.raises(Exception, match=r"\S"), serving(answer) as url:
        await run(way, case.make(url, **case.options), "Hi", {"callbacks": [handler]})

    assert [event.name for event in client.events if event.name == FIRST_TOKEN] == [FIRST_TOKEN] * beyond
