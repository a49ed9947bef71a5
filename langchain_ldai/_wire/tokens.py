"""A resumption token and the identity of the run it stands for, in both directions.

The format is the one every official SDK reads (spec section 6): compact JSON in a fixed key order,
ASCII only, in URL-safe Base64 without padding.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Final, NamedTuple, NoReturn
from uuid import NAMESPACE_OID, UUID

from langchain_ldai._wire.events import CONFIG_KEY, GRAPH_KEY, RUN_ID, VARIATION_KEY, VERSION
from langchain_ldai.errors import InvalidResumptionTokenError

_log = logging.getLogger(__name__)

MAX_TOKEN_LENGTH: Final = 16_384
"""The longest token that is read, in characters; several times what the longest legal keys need."""

MAX_RUN_ID_LENGTH: Final = 256
"""The longest id of a run, in characters, as long as LaunchDarkly's longest key."""

MAX_VERSION: Final = 2**63 - 1
"""The greatest version that is read, as far from 0 on either side."""

# Its own, which no `random.seed(...)` of the program's makes repeat itself; nor does a fork.
_random: Final = Random()  # noqa: S311  no secret is made of it
_bits: Final = _random.getrandbits
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)

_quoted: Final = json.encoder.encode_basestring_ascii
_TO_STANDARD_ALPHABET: Final = str.maketrans("-_", "+/")
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""The digit that says how the id is made, by a random one (RFC 9562, section 4.1)."""

_SEALED: Final = re.compile(r"[0-9a-f]{12}\.gAAAA[A-Za-z0-9_-]+={0,2}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_TO_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class RunIdentity(NamedTuple):
    """What a resumption token says of a run: enough to add to the run, nothing about its content.

    Args:
        run_id: LaunchDarkly's id of the run, a UUIDv4 in text form when made here.
        config_key: Key of the AI Config.
        variation_key: Key of the variation served, "" when unknown.
        version: Version of the variation.
        graph_key: Key of the agent graph the run belongs to, "" outside one.
    """

    run_id: str
    config_key: str
    variation_key: str = ""
    version: int = 1
    graph_key: str = ""


class GraphRunIdentity(NamedTuple):
    """What a graph's resumption token says of a run of an agent graph (spec section 7).

    Args:
        run_id: LaunchDarkly's id of the run, a UUIDv4 in text form when made here.
        graph_key: Key of the agent graph.
        variation_key: Key of the variation served, "" when unknown.
        version: Version of the variation.
    """

    run_id: str
    graph_key: str
    variation_key: str = ""
    version: int = 1


class DecodedToken(str):
    """A resumption token that has been read, with the run it stands for, so that nobody reads it again."""

    __slots__ = ("identity",)

    identity: RunIdentity | GraphRunIdentity

    def __new__(cls, token: str, identity: RunIdentity | GraphRunIdentity) -> DecodedToken:
        """Return the token's text, which knows its run."""
        self = super().__new__(cls, token)
        self.identity = identity
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Copy and pickle the plain text."""
        return str, (str(self),)


def new_run_id() -> str:
    """Return the text of a new UUIDv4.

    Its numbers do not come from the operating system one by one, as those of `uuid4()` do: to ask it lets
    another thread go on, and a chain would wait for that. They are no secret.
    """
    text = _bits(128).to_bytes(16, "big").hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def uuid_of(text: str) -> str:
    """Return the UUIDv5 of a text, also of one that UTF-8 cannot encode; always the same for the same text."""
    named = NAMESPACE_OID.bytes + text.encode("utf-8", "surrogatepass")
    return str(UUID(bytes=hashlib.sha1(named, usedforsecurity=False).digest()[:16], version=5))


def run_id_fault(run_id: str) -> str:
    """Return why some ledger could not hold the id of a run, "" where each can."""
    if len(run_id) > MAX_RUN_ID_LENGTH:
        return f"has {len(run_id):,} characters, more than {MAX_RUN_ID_LENGTH}"
    return text_fault(run_id)


def checked_run_id(run_id: str) -> str:
    """Return the id of a run as it is where every ledger can hold it, else a UUID that follows from it.

    Raises:
        TypeError: If it is not a string.
        ValueError: If it is empty.
    """
    if not isinstance(run_id, str):
        raise TypeError(f"run_id is a str, not {type(run_id).__name__}: {str(run_id)!r}")
    if not run_id:
        raise ValueError("run_id is empty; leave it out for a new id")
    fault = run_id_fault(run_id)
    if not fault:
        return run_id
    replacement = uuid_of(run_id)
    _log.warning(
        "run_id %s, which not every ledger can hold; the run is recorded as %s, and so is each run of the same "
        "run_id. Give a UUID, or another text of at most %s characters",
        fault,
        replacement,
        MAX_RUN_ID_LENGTH,
    )
    return replacement


def check_key(key: str) -> None:
    """Raise `ValueError` where some ledger could not hold the key of an AI Config or of an agent graph."""
    if fault := text_fault(key):
        raise ValueError(f"the key {key!r} {fault}; LaunchDarkly has no such key")


def text_fault(text: str) -> str:
    """Return why some ledger could not hold a text, "" where each can."""
    if "\0" in text:
        return "has a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "has half a surrogate pair"
    return ""


def encode(identity: RunIdentity) -> str:
    """Return the resumption token of a run, the same text for the same identity (spec section 6)."""
    return _token(identity.run_id, _after_run_id(identity[1:], CONFIG_KEY))


def encode_graph(identity: GraphRunIdentity) -> str:
    """Return the resumption token of a run of an agent graph (spec section 7)."""
    return _token(identity.run_id, _after_run_id((*identity[1:], ""), GRAPH_KEY))


def decode(token: str) -> RunIdentity:
    """Read a resumption token written by this library or by any official SDK (spec section 6).

    Args:
        token: The token's text, padded or not.

    Raises:
        TypeError: If the token is not a string.
        InvalidResumptionTokenError: If it is a string, but not a resumption token. The message says
            what is wrong and quotes nothing of the token.
    """
    if isinstance(token, DecodedToken) and isinstance(token.identity, RunIdentity):
        return token.identity
    return _identity(_fields(token))


def resumption_token_of(track_data: Mapping[str, object]) -> str:
    """Return the resumption token of the run that an event's data tells of.

    It lets feedback be added to a run of LaunchDarkly's newer packages, which hand out `track_data` and no token.

    Args:
        track_data: The run's `runId`, `configKey`, `version`, `variationKey` and `graphKey`; the rest is ignored.

    Raises:
        TypeError: If it is no mapping.
        InvalidResumptionTokenError: If it tells of no run, as `decode` says it.
    """
    if not isinstance(track_data, Mapping):
        raise TypeError(f"track_data is a dictionary, not {type(track_data).__name__}")
    return encode(_identity(track_data))


def decode_graph(token: str) -> GraphRunIdentity:
    """Read the resumption token of a run of an agent graph, as strictly as `decode` (spec section 7).

    Args:
        token: The token's text, padded or not.

    Raises:
        TypeError: If the token is not a string.
        InvalidResumptionTokenError: If it is a string, but not a graph's resumption token; the token of
            an AI Config's run, also of a run within a graph, is none.
    """
    fields = _fields(token)
    if _optional(fields, CONFIG_KEY):
        raise _invalid("it is of a run of an AI Config, not of an agent graph")
    return _graph_identity(fields)


def decoded(token: str) -> DecodedToken:
    """Return a resumption token with the run it stands for, be it an AI Config's or an agent graph's.

    Raises:
        TypeError: If the token is not a string.
        InvalidResumptionTokenError: If it is a string, but no resumption token.
    """
    if isinstance(token, DecodedToken):
        return token
    fields = _fields(token)
    read = _identity if _optional(fields, CONFIG_KEY) else _graph_identity
    return DecodedToken(token, read(fields))


def is_token(text: str) -> bool:
    """Whether a text is the plain resumption token of a run, or of a run of an agent graph."""
    try:
        decoded(text)
    except InvalidResumptionTokenError:
        return False
    return True


def _identity(fields: Mapping[str, object]) -> RunIdentity:
    return RunIdentity(
        run_id=_run_id(fields),
        config_key=_required(fields, CONFIG_KEY),
        variation_key=_optional(fields, VARIATION_KEY),
        version=_version(fields),
        graph_key=_optional(fields, GRAPH_KEY),
    )


def _graph_identity(fields: Mapping[str, object]) -> GraphRunIdentity:
    return GraphRunIdentity(
        run_id=_run_id(fields),
        graph_key=_required(fields, GRAPH_KEY),
        variation_key=_optional(fields, VARIATION_KEY),
        version=_version(fields),
    )


def _token(run_id: str, rest: str) -> str:
    text = f'{{"{RUN_ID}":{_quoted(run_id)}{rest}'
    standard = binascii.b2a_base64(text.encode("ascii"), newline=False)
    return standard.rstrip(b"=").translate(_TO_URL_SAFE).decode("ascii")


@lru_cache(maxsize=64)
def _after_run_id(rest: tuple[str, str, int, str], key_name: str) -> str:
    """Return what a token says after the run's id, the same in all runs of an AI Config."""
    key, variation_key, version, graph_key = rest
    text = f',"{key_name}":{_quoted(key)}'
    if variation_key:
        text += f',"{VARIATION_KEY}":{_quoted(variation_key)}'
    text += f',"{VERSION}":{version}'
    if graph_key:
        text += f',"{GRAPH_KEY}":{_quoted(graph_key)}'
    return text + "}"


def _fields(token: str) -> dict[str, object]:
    if not isinstance(token, str):
        raise TypeError(f"a resumption token is a str, not {type(token).__name__}")
    return _object(_text(token))


def _text(token: str) -> str:
    if not token:
        raise _invalid("it is empty")
    if len(token) > MAX_TOKEN_LENGTH:
        raise _invalid(f"it has {len(token):,} characters, more than {MAX_TOKEN_LENGTH:,}")
    if _SEALED.fullmatch(token):
        raise _invalid("it is a sealed one: unseal it first, or give the handler the sealer")
    if _UUID.fullmatch(token):
        raise _invalid("it is the id of a run")
    padding = "=" * (-len(token) % 4)
    standard = token.translate(_TO_STANDARD_ALPHABET) + padding
    try:
        return binascii.a2b_base64(standard, strict_mode=True).decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid("its bytes are not UTF-8") from None
    except ValueError:
        raise _invalid("it is not URL-safe Base64") from None


def _object(text: str) -> dict[str, object]:
    try:
        fields: object = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise _invalid("its content is not JSON") from None
    if not isinstance(fields, dict):
        raise _invalid(f"its content is a JSON {type(fields).__name__}, not an object")
    return fields


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _run_id(fields: Mapping[str, object]) -> str:
    run_id = _required(fields, RUN_ID)
    if fault := run_id_fault(run_id):
        raise _invalid(f"its {RUN_ID} {fault}")
    return run_id


def _required(fields: Mapping[str, object], name: str) -> str:
    value = _optional(fields, name)
    if not value:
        raise _invalid(f"its {name} is missing or empty")
    if fault := text_fault(value):
        raise _invalid(f"its {name} {fault}")
    return value


def _optional(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(f"its {name} is a {type(value).__name__}, not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _invalid(f"its {name} has half a surrogate pair") from None
    return value


def _version(fields: Mapping[str, object]) -> int:
    value = fields.get(VERSION)
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool):
        raise _invalid(f"its {VERSION} is a {type(value).__name__}, not an integer")
    if abs(value) > MAX_VERSION:
        raise _invalid(f"its {VERSION} does not fit 64 bits")
    return value


def _invalid(reason: str) -> InvalidResumptionTokenError:
    return InvalidResumptionTokenError(f"not a resumption token: {reason}")
