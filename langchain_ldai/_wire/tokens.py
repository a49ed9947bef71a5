"""Resumption tokens: from a run's identity to its token, and back.

Every official SDK reads the format (spec section 6): compact JSON in a fixed key order, ASCII only, in URL-safe
Base64 without padding.
"""

import json
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from langchain_ldai._wire.events import CONFIG_KEY, GRAPH_KEY, RUN_ID, VARIATION_KEY, VERSION, field_name
from langchain_ldai._wire.ids import run_id_fault, text_fault, utf8_fault
from langchain_ldai.errors import InvalidResumptionTokenError

_T = TypeVar("_T", str, int)

MAX_TOKEN_LENGTH: Final = 16_384
"""The longest token that is read, in characters: several times what the longest keys need."""

MAX_VERSION: Final = 2**63 - 1
"""The greatest version that is read; the least is its negative."""

_SEALED: Final = re.compile(r"[0-9a-f]{12}\.gAAAA[A-Za-z0-9_-]+={0,2}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_JSON_TYPES: Final = {str: "a string", int: "an integer"}
_REMEDY: Final = "; give the run's resumption_token as it is, unchanged and in full"


class RunIdentity(NamedTuple):
    """What a resumption token says of a run: enough to add metrics to it, nothing about its content.

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


def token_and_fields(identity: RunIdentity | GraphRunIdentity) -> tuple[str, dict[str, object]]:
    """Return the resumption token of a run, the same for the same identity, and what it says of the run.

    The fields are in a token's order, without an optional key that is empty (spec sections 6 and 7).
    """
    fields, fields_as_json = _after_run_id(identity._fields[1:], identity[1:])
    text = f'{{"{RUN_ID}":{json.dumps(identity.run_id)},{fields_as_json}'
    token = urlsafe_b64encode(text.encode("ascii")).rstrip(b"=").decode("ascii")
    return token, {RUN_ID: identity.run_id, **fields}


def encode(identity: RunIdentity | GraphRunIdentity) -> str:
    """Return the resumption token of a run."""
    return token_and_fields(identity)[0]


@lru_cache(maxsize=64)
def _after_run_id(names: tuple[str, ...], values: tuple[str | int, ...]) -> tuple[Mapping[str, object], str]:
    """Return the fields after the run's id, and their JSON; cached, as all runs of an AI Config share them."""
    named = zip(names, values, strict=True)
    fields = {field_name(name): value for name, value in named if value != "" or name == names[0]}
    return fields, json.dumps(fields, separators=(",", ":"))[1:]


def decode(token: str) -> RunIdentity:
    """Return the run that a resumption token stands for; any official SDK may have written it (spec section 6).

    Args:
        token: The token's text, padded or not.

    Raises:
        TypeError: If the token is not a string.
        InvalidResumptionTokenError: If it is a string, but no resumption token of an AI Config's run. The message
            says what is wrong, and quotes nothing of the token.
    """
    identity = decode_any(token)
    if not isinstance(identity, RunIdentity):
        raise _invalid(
            f"it is of a run of an agent graph, as its {CONFIG_KEY} is missing or empty; give it to "
            "create_graph_tracker()"
        )
    return identity


def resumption_token_of(track_data: Mapping[str, object]) -> str:
    """Return the resumption token of a run of LaunchDarkly's newer packages.

    Those packages hand out `track_data` and no token. With a token, feedback can be added to the run.

    Args:
        track_data: The run's `runId`, `configKey`, `version`, `variationKey` and `graphKey`. Other fields are
            ignored.

    Raises:
        TypeError: If `track_data` is no mapping.
        InvalidResumptionTokenError: If a field is missing or wrong. The message says which.

    Example:
        >>> token = resumption_token_of({"runId": "run-1", "configKey": "support-bot", "version": 3})
        >>> ai.create_tracker(token, context).run_id
        'run-1'
    """
    if not isinstance(track_data, Mapping):
        raise TypeError(f"track_data is a dictionary, not {type(track_data).__name__}")
    identity = _identity(track_data)
    if not isinstance(identity, RunIdentity):
        raise _invalid(f"its {CONFIG_KEY} is missing or empty")
    return encode(identity)


def decode_graph(token: str) -> GraphRunIdentity:
    """Return the run of an agent graph that a resumption token stands for (spec section 7).

    Args:
        token: The token's text, padded or not.

    Raises:
        TypeError: If the token is not a string.
        InvalidResumptionTokenError: If it is a string, but no resumption token of a graph's run. A node's run in a
            graph has a token of another kind.
    """
    identity = decode_any(token)
    if not isinstance(identity, GraphRunIdentity):
        raise _invalid("it is of a run of an AI Config, not of an agent graph; give it to create_tracker()")
    return identity


def decode_any(token: str) -> RunIdentity | GraphRunIdentity:
    """Return the run of an AI Config or of an agent graph that a resumption token stands for.

    Raises:
        TypeError: If the token is not a string.
        InvalidResumptionTokenError: If it is a string, but no resumption token.
    """
    if not isinstance(token, str):
        raise TypeError(f"a resumption token is a str, not {type(token).__name__}{_remedy(token)}")
    # What is easily taken for a token comes first, so that the message says what to give.
    if len(token) > MAX_TOKEN_LENGTH:
        raise _invalid(f"it has {len(token):,} characters, more than {MAX_TOKEN_LENGTH:,}{_REMEDY}")
    if _SEALED.fullmatch(token):
        raise _invalid("it is a sealed one: give sealer.unseal(token), or give the handler the sealer")
    if _UUID.fullmatch(token):
        raise _invalid("it is the id of a run; give the run's resumption_token")
    if not token:
        raise _invalid("it is empty; give the run's resumption_token")
    if token != token.strip(" \t\r\n\"'"):
        raise _invalid("there are spaces, line ends or quotes around it; give it without them")
    return _identity_in(token)


@lru_cache(maxsize=64)
def _identity_in(token: str) -> RunIdentity | GraphRunIdentity:
    """Return the run of a token; cached, as the sealer decodes it, and so does whoever uses it."""
    try:
        return _identity(_fields_in(token))
    except InvalidResumptionTokenError as error:
        raise InvalidResumptionTokenError(f"{error}{_REMEDY}") from None


def is_token(text: str) -> bool:
    """Return whether a text is the plain resumption token of an AI Config's or an agent graph's run."""
    try:
        decode_any(text)
    except InvalidResumptionTokenError:
        return False
    return True


def _identity(fields: Mapping[str, object]) -> RunIdentity | GraphRunIdentity:
    """Return the run that a token's fields describe. A run of an agent graph has no key of an AI Config."""
    run_id = _field(fields, RUN_ID, "", run_id_fault)
    config_key, graph_key = (_field(fields, name, "", text_fault) for name in (CONFIG_KEY, GRAPH_KEY))
    variation_key = _field(fields, VARIATION_KEY, "", utf8_fault)
    version = _field(fields, VERSION, 1, _version_fault)
    if not run_id:
        raise _invalid(f"its {RUN_ID} is missing or empty")
    if config_key:
        return RunIdentity(run_id, config_key, variation_key, version, graph_key)
    if graph_key:
        return GraphRunIdentity(run_id, graph_key, variation_key, version)
    raise _invalid(f"its {CONFIG_KEY} and its {GRAPH_KEY} are missing or empty")


def _remedy(given: object) -> str:
    """Return what to give in place of something that holds a token; "" for anything else."""
    if hasattr(given, "resumption_token"):
        return ": give report.resumption_token"
    if isinstance(given, bytes):
        return ": give token.decode()"
    return ": resumption_token_of() makes one of track data" if isinstance(given, Mapping) else ""


def _fields_in(token: str) -> dict[str, object]:
    fault = "it is not URL-safe Base64"
    try:
        content = b64decode(token + "=" * (-len(token) % 4), "-_", validate=True)
        fault = "its bytes are not UTF-8"
        text = content.decode("utf-8")
        fault = "its content is not JSON"
        fields: object = json.loads(text, parse_constant=int)  # `int` refuses `NaN` and `Infinity`, as JSON does
    except (ValueError, RecursionError):
        raise _invalid(fault) from None
    if not isinstance(fields, dict):
        raise _invalid(f"its content is a JSON {type(fields).__name__}, not an object")
    return fields


def _field(fields: Mapping[str, object], name: str, absent: _T, fault_of: Callable[[_T], str]) -> _T:
    """Return a field that has the type of `absent`; return `absent` if the field is missing or null."""
    value, expected = fields.get(name), type(absent)
    if value is None:
        return absent
    if not isinstance(value, expected) or isinstance(value, bool):
        raise _invalid(f"its {name} is a {type(value).__name__}, not {_JSON_TYPES[expected]}")
    if fault := fault_of(value):
        raise _invalid(f"its {name} {fault}")
    return value


def _version_fault(version: int) -> str:
    return "does not fit 64 bits" if abs(version) > MAX_VERSION else ""


def _invalid(reason: str) -> InvalidResumptionTokenError:
    return InvalidResumptionTokenError(f"not a resumption token: {reason}")
