"""How a request's body becomes events."""

import gzip
import json

import pytest

from langchain_ldai._protocol.batches import RefusedBatchError, read_batch

BATCH = [{"kind": "custom", "key": "clicked"}]
PLAIN = json.dumps(BATCH).encode()


@pytest.mark.parametrize(
    ("body", "encoding"), [(PLAIN, None), (gzip.compress(PLAIN), "gzip")], ids=["plain", "gzip"]
)
@pytest.mark.parametrize("limit", [0, len(PLAIN)])
def test_a_batch_up_to_the_limit_is_read(body: bytes, encoding: str | None, limit: int) -> None:
    """Events come out as they went in, packed or not; without a limit any number does."""
    assert read_batch(body, encoding, limit) == BATCH


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"{nonsense", None, "not JSON"),
        (b"[" * 100_000, None, "not JSON"),
        (b"{}", None, "not a JSON list of events"),
        (b"[1]", None, "not a JSON list of events"),
        (PLAIN, "gzip", "not gzip"),
        (gzip.compress(PLAIN)[:-9], "gzip", "cut off"),
    ],
    ids=["no JSON", "too deep", "no list", "no events", "no gzip", "cut off"],
)
def test_what_is_no_batch_says_why(body: bytes, encoding: str | None, message: str) -> None:
    """Each kind of broken body raises one error, whose message says what is wrong."""
    with pytest.raises(RefusedBatchError, match=message):
        read_batch(body, encoding)


@pytest.mark.parametrize(
    ("body", "encoding"), [(PLAIN, None), (gzip.compress(PLAIN), "gzip")], ids=["plain", "gzip"]
)
def test_a_batch_beyond_the_limit_is_refused(body: bytes, encoding: str | None) -> None:
    """The limit holds for what a packed body unpacks to."""
    with pytest.raises(RefusedBatchError, match="more than 10 bytes"):
        read_batch(body, encoding, 10)
