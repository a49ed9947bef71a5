"""A handler with a sealer: the metadata shows sealed tokens, and takes them back."""

import asyncio

import pytest
from ldclient import Context

from langchain_ldai import InvalidResumptionTokenError, LdAiClient, LdAiHandler, RunReport
from tests.support.chains import QUESTION, chain

TOKEN = "ldai_resumption_token"


def stream(ai: LdAiClient, context: Context, reports: list[RunReport], **options: object) -> None:
    """Stream a chain with a handler of its own."""
    config = {"metadata": options.pop("metadata", {})}
    handler = LdAiHandler(ai.completion_config("support-bot", context), on_run_end=reports.append, **options)
    list(chain().stream(QUESTION, {"callbacks": [handler], **config}))


class Backwards:
    """A stand-in for a sealer: a sealed token is the token backwards."""

    def seal(self, token: str) -> str:
        """Turn it round."""
        return token[::-1]

    def unseal(self, sealed: str) -> str:
        """Turn it back; a plain token is refused."""
        if sealed.startswith("ey"):
            raise InvalidResumptionTokenError("a plain token")
        return sealed[::-1]


def test_a_sealer_seals_what_the_metadata_shows(
    ai: LdAiClient, context: Context, reports: list[RunReport]
) -> None:
    """Tracers and clients see the sealed token; the report, which stays in the process, has the plain one."""
    config = ai.completion_config("support-bot", context)
    handler = LdAiHandler(config, on_run_end=reports.append, sealer=Backwards())

    async def events() -> list[dict[str, object]]:
        found = chain().astream_events(QUESTION, {"callbacks": [handler]}, version="v2")
        return [event["metadata"] async for event in found]

    shown = {metadata[TOKEN] for metadata in asyncio.run(events()) if TOKEN in metadata}
    assert shown == {reports[0].resumption_token[::-1]}


def test_a_run_goes_on_by_its_sealed_token(
    ai: LdAiClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """With a sealer, `resume` takes a sealed token; a plain one opens a new run, and the log says why."""
    token = ai.completion_config("support-bot", context).create_tracker().resumption_token
    options = {"resume": True, "sealer": Backwards()}

    stream(ai, context, reports, metadata={TOKEN: token[::-1]}, **options)
    stream(ai, context, reports, metadata={TOKEN: token}, **options)

    assert [report.resumption_token == token for report in reports] == [True, False]
    assert caplog.messages == ["a run is not continued, a new one opens: a plain token"]


def test_a_sealer_that_fails_leaves_the_run_alone(
    ai: LdAiClient, context: Context, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """What a sealer raises is logged once, and the chain goes on untracked."""

    class Fails(Backwards):
        def seal(self, token: str) -> str:
            raise OSError

    stream(ai, context, reports, sealer=Fails())

    assert reports == []
    assert len(caplog.records) == 1
