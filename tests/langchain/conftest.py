"""What holds after each fact."""

from collections.abc import Iterator

import pytest

from langchain_ldai import LdAiHandler


@pytest.fixture(autouse=True)
def nothing_is_left(handler: LdAiHandler, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The handler holds no run, and neither it nor LangChain has complained of it."""
    yield
    handler.flush()
    assert handler.open_runs == 0
    said = [record.getMessage() for record in caplog.get_records("call")]
    assert [message for message in said if "LdAiHandler" in message] == []
    assert [record for record in caplog.get_records("call") if record.name.startswith("langchain_ldai")] == []
