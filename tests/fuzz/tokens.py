"""Fuzz what reads tokens from strangers: `python -m tests.fuzz.tokens DECODER [libFuzzer's options]`.

Coverage-guided: whatever a decoder is given, it returns or raises what it documents, says no more than 200
characters of it, and is quick, which libFuzzer's own `-timeout` sees to.
"""

import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final

import atheris

with atheris.instrument_imports(include=["langchain_ldai", "json", "base64"]):
    from langchain_ldai._wire.tokens import (
        GraphRunIdentity,
        RunIdentity,
        decode,
        decode_graph,
        encode,
    )
    from langchain_ldai.errors import InvalidResumptionTokenError
    from langchain_ldai.sealing import TokenSealer

Decode = Callable[[str], object]

IDENTITY: Final = RunIdentity("0b6f6d3e-2f4b-4c39-9a57-6f0c4a2b9e11", "support-bot", "friendly", 3, "travel")
GRAPH_IDENTITY: Final = GraphRunIdentity(IDENTITY.run_id, "travel", "friendly", 3)
TOKEN: Final = encode(IDENTITY)
GRAPH_TOKEN: Final = encode(GRAPH_IDENTITY)

SEALER: Final = TokenSealer([TokenSealer.generate_key()])
DECODERS: Final[dict[str, tuple[Decode, str]]] = {
    "decode": (decode, TOKEN),
    "decode_graph": (decode_graph, GRAPH_TOKEN),
    "unseal": (SEALER.unseal, SEALER.seal(TOKEN)),
}


def mutate(token: str, data: bytes) -> str:
    """Return text of the fuzzer's own, or the token, or the token of other bytes, with a part replaced."""
    given = atheris.FuzzedDataProvider(data)
    form = given.ConsumeIntInRange(0, 2)
    if form == 0:
        return given.ConsumeUnicode(given.remaining_bytes())
    if form == 1:
        start, end = _part(given, len(token))
        return token[:start] + given.ConsumeUnicode(given.remaining_bytes()) + token[end:]
    content = urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4))
    start, end = _part(given, len(content))
    changed = content[:start] + given.ConsumeBytes(given.remaining_bytes()) + content[end:]
    return urlsafe_b64encode(changed).decode("ascii").rstrip("=")


def _part(given: atheris.FuzzedDataProvider, length: int) -> tuple[int, int]:
    start = given.ConsumeIntInRange(0, length)
    return start, given.ConsumeIntInRange(start, length)


def check(decoder: Decode, text: str) -> None:
    """Decode; nothing but the documented exception comes out, and that is short."""
    try:
        decoder(text)
    except InvalidResumptionTokenError as error:
        message = str(error)
        assert len(message) <= 200, "an error says too much"
        assert len(text) < 8 or text not in message, "an error quotes the token"


def main() -> None:
    """Fuzz the decoder named on the command line."""
    decoder, token = DECODERS[sys.argv.pop(1)]
    decoder(token)
    atheris.Setup(sys.argv, lambda data: check(decoder, mutate(token, data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
