"""Sealed tokens: opaque, authenticated, good for a time, and refused with one kind of error."""

import asyncio
import copy
import pickle
import runpy
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai import InvalidResumptionTokenError, LdAiCompletionConfig, LdAiHandler, RunReport, sealing
from langchain_ldai._wire import tokens
from langchain_ldai._wire.tokens import GraphRunIdentity, RunIdentity, decode, decode_graph, encode
from langchain_ldai.sealing import MAX_SEALED_LENGTH, TokenSealer
from tests.support.chains import QUESTION, chain

OLD, NEW = TokenSealer.generate_key(), TokenSealer.generate_key()
TOKEN = encode(RunIdentity("run-1", "support-bot", "friendly", 3))
GRAPH_TOKEN = encode(GraphRunIdentity("run-1", "travel"))
DAY = 24 * 3600.0


def seal_at(key: str, seconds_ago: float) -> str:
    """Return the token as it was sealed so many seconds ago."""
    key_id, _, _ = TokenSealer([key]).seal(TOKEN).partition(".")
    then = Fernet(key).encrypt_at_time(TOKEN.encode(), int(time.time() - seconds_ago))
    return f"{key_id}.{then.decode()}"


@pytest.mark.parametrize("token", [TOKEN, GRAPH_TOKEN], ids=["run", "graph"])
def test_what_is_sealed_is_unsealed(token: str) -> None:
    """Both kinds of token come back as they were, from any sealer with the key, however it is written."""
    assert TokenSealer([OLD.encode()]).unseal(TokenSealer([OLD]).seal(token)) == token


@pytest.mark.parametrize(("token", "read"), [(TOKEN, decode), (GRAPH_TOKEN, decode_graph)], ids=["run", "graph"])
def test_an_unsealed_token_is_not_decoded_again(
    token: str, read: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To unseal it is to decode it; who reads or seals it after that need not."""
    sealer, identity = TokenSealer([OLD]), read(token)
    unsealed = sealer.unseal(sealer.seal(token))
    monkeypatch.delattr(tokens, "_fields_in")

    assert read(unsealed) == identity
    sealer.seal(unsealed)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda token: pickle.loads(pickle.dumps(token))])
def test_a_copy_of_an_unsealed_token_is_plain_text(copied: Callable[[str], str]) -> None:
    """A process without this package can read it."""
    sealer = TokenSealer([OLD])

    token = copied(sealer.unseal(sealer.seal(TOKEN)))

    assert (type(token), token) == (str, TOKEN)


def test_a_sealed_token_shows_nothing() -> None:
    """It is safe in a URL, says nothing of run or AI Config, and is another text each time."""
    one, other = (TokenSealer([OLD]).seal(TOKEN) for _ in range(2))

    assert one != other
    assert all(letter.isalnum() or letter in "-_=." for letter in one)
    content = urlsafe_b64decode(one.partition(".")[2])
    assert not any(text in content for text in (b"run-1", b"support-bot", b"friendly", TOKEN.encode()))


def test_keys_can_be_changed_one_after_another() -> None:
    """The first key seals, every key unseals, and a key that has been taken out does not."""
    before, between, after = TokenSealer([OLD]), TokenSealer([NEW, OLD]), TokenSealer([NEW])

    assert between.unseal(before.seal(TOKEN)) == TOKEN
    assert after.unseal(between.seal(TOKEN)) == TOKEN
    with pytest.raises(InvalidResumptionTokenError, match="key that is not among"):
        after.unseal(before.seal(TOKEN))


@pytest.mark.parametrize(
    ("ttl", "seconds_ago", "is_good"),
    [(DAY, DAY - 60, True), (DAY, DAY + 60, False), (None, 1000 * DAY, True), (DAY, -3600, True)],
)
def test_a_sealed_token_is_good_for_its_time(ttl: float | None, seconds_ago: float, is_good: bool) -> None:
    """After `ttl` it has expired; without one it is good for ever; a clock that is ahead does no harm."""
    sealer, sealed = TokenSealer([OLD], ttl=ttl), seal_at(OLD, seconds_ago)

    if is_good:
        assert sealer.unseal(sealed) == TOKEN
    else:
        with pytest.raises(InvalidResumptionTokenError, match="it has expired"):
            sealer.unseal(sealed)


SEALED = TokenSealer([OLD]).seal(TOKEN)
REFUSED = {
    "plain": (TOKEN, "it is a plain one"),
    "plain-graph": (GRAPH_TOKEN, "it is a plain one"),
    "other-key": (TokenSealer([NEW]).seal(TOKEN), "sealed with a key that is not among"),
    "changed": (SEALED[:-6] + ("AAAA==" if not SEALED.endswith("AAAA==") else "BBBB=="), "it was changed"),
    "cut": (SEALED[:-20], "it was changed"),
    "expired-and-changed": (seal_at(OLD, 1000 * DAY)[:-20], "it was changed"),
    "not-ascii": (SEALED[:13] + "\ud800\u00e9", "it was changed"),
    "garbage-behind": (SEALED + "\u00d6\u00d6", "it was changed"),
    "line-behind": (SEALED + "\n", "it was changed"),
    "of-something-else": (f"{SEALED[:13]}{Fernet(OLD).encrypt(b'hello').decode()}", "what was sealed is not"),
    "of-bytes": (f"{SEALED[:13]}{Fernet(OLD).encrypt(bytes([255])).decode()}", "what was sealed is not"),
    "no-key-id": (SEALED.partition(".")[2], "it has no key id"),
    "empty": ("", "it has no key id"),
    "too-long": ("A" * (MAX_SEALED_LENGTH + 1), "32,769 characters, more than 32,768"),
}


@pytest.mark.parametrize(("sealed", "reason"), REFUSED.values(), ids=REFUSED)
def test_each_refusal_has_its_reason_and_one_type(sealed: str, reason: str) -> None:
    """The message is for the log: it says why, briefly, and quotes nothing of the token."""
    with pytest.raises(InvalidResumptionTokenError, match=reason) as raised:
        TokenSealer([OLD]).unseal(sealed)

    assert str(raised.value).startswith("not a sealed resumption token: ")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert not sealed or sealed[:20] not in str(raised.value)


@given(st.integers(0, len(SEALED) - 1), st.characters())
def test_a_changed_token_never_becomes_another(position: int, character: str) -> None:
    """Whichever character is changed, it is refused, or it was one that Base64 does not look at."""
    changed = SEALED[:position] + character + SEALED[position + 1 :]

    try:
        unsealed = TokenSealer([OLD]).unseal(changed)
    except InvalidResumptionTokenError:
        unsealed = None

    assert unsealed == TOKEN if changed == SEALED else unsealed in (TOKEN, None)


@given(st.text())
def test_no_text_but_a_sealed_one_is_accepted(text: str) -> None:
    """Whatever text it is given, it refuses it in the documented way."""
    with pytest.raises(InvalidResumptionTokenError):
        TokenSealer([OLD]).unseal(text)


@pytest.mark.parametrize("token", ["", "hello", SEALED])
def test_only_a_resumption_token_is_sealed(token: str) -> None:
    """Anything else is refused before it is sealed, a sealed token as well."""
    with pytest.raises(InvalidResumptionTokenError):
        TokenSealer([OLD]).seal(token)


def test_a_token_is_text() -> None:
    """Bytes are a mistake of the caller's."""
    with pytest.raises(TypeError, match="a sealed token is a str, not bytes"):
        TokenSealer([OLD]).unseal(SEALED.encode())
    with pytest.raises(TypeError, match="a resumption token is a str, not bytes"):
        TokenSealer([OLD]).seal(TOKEN.encode())


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ([], ValueError, "needs a key"),
        (OLD, TypeError, "not one key"),
        ([OLD, "my-secret-key"], ValueError, r"keys\[1\] is not a Fernet key"),
        ([OLD, OLD[4:]], ValueError, r"keys\[1\] is not a Fernet key"),
        ([OLD, "schl\u00fcssel"], ValueError, r"keys\[1\] is not a Fernet key"),
        ([None], TypeError, r"keys\[0\] is a Fernet key in text or bytes, not NoneType"),
    ],
    ids=["none", "bare", "no-key", "cut", "not-ascii", "no-text"],
)
def test_a_wrong_key_is_refused_at_construction(keys: object, error: type[Exception], message: str) -> None:
    """The message names the position of the key and never the key."""
    with pytest.raises(error, match=message) as raised:
        TokenSealer(keys)

    assert "my-secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_lifetime_is_above_zero() -> None:
    """Another is refused at construction."""
    with pytest.raises(ValueError, match="ttl is a number of seconds above 0, not 0"):
        TokenSealer([OLD], ttl=0)


def test_a_sealer_shows_no_key() -> None:
    """Its representation, which may come into a log, has none."""
    assert repr(TokenSealer([NEW, OLD], ttl=60)) == "TokenSealer(<2 keys>, ttl=60)"


def test_a_handler_hands_out_sealed_tokens(config: LdAiCompletionConfig, reports: list[RunReport]) -> None:
    """What the metadata shows is sealed, and with it the run goes on."""
    sealer = TokenSealer([OLD])
    handler = LdAiHandler(config, on_run_end=reports.append, sealer=sealer, resume=True)

    async def shown() -> set[str]:
        events = chain().astream_events(QUESTION, {"callbacks": [handler]}, version="v2")
        return {event["metadata"]["ldai_resumption_token"] async for event in events}

    (sealed,) = asyncio.run(shown())
    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"ldai_resumption_token": sealed}})

    assert sealed == reports[0].resumption_token
    assert reports[1].run_id == reports[0].run_id


def test_cryptography_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the extra."""
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(
        ImportError, match=r'^TokenSealer needs cryptography: pip install "langchain-ldai\[sealed\]"$'
    ):
        runpy.run_path(sealing.__file__)
