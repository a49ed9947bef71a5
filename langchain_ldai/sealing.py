"""Sealed resumption tokens, for browsers and others that you do not trust; with the extra `sealed`."""

import hashlib
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from typing import Final

from langchain_ldai._base.options import check_seconds
from langchain_ldai._wire.tokens import MAX_TOKEN_LENGTH, decode_any, is_token
from langchain_ldai.errors import InvalidResumptionTokenError
from langchain_ldai.ledgers._lifetime import THIRTY_DAYS

try:
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet
except ImportError as _error:
    raise ImportError('TokenSealer needs cryptography: pip install "langchain-ldai[sealed]"') from _error

MAX_SEALED_LENGTH: Final = 2 * MAX_TOKEN_LENGTH
"""The longest sealed token that is read, in characters. The longest token, once sealed, is shorter."""

_KEY_ID_LENGTH: Final = 12
_BASE64: Final = re.compile("[A-Za-z0-9_-]+={0,2}")


class TokenSealer:
    """Seals resumption tokens, so that you can give them to a browser and take feedback back from it.

    A plain token shows the keys of the AI Config and its variation, and anyone can write one. A sealed token
    shows nothing, expires, and can be made only with a key. Its text is `<key id>.<Fernet token>`; the key id is
    a digest of the key.

    Args:
        keys: Fernet keys, as `generate_key` makes them. The first one seals. All of them unseal: to change keys,
            have every process take the new one last, then first, and drop the old one once its tokens have
            expired.
        ttl: Seconds for which a sealed token is valid; `None` for ever.

    Raises:
        TypeError: If `keys` is no list, a key is neither text nor bytes, or `ttl` is no number.
        ValueError: If there is no key, a key is no Fernet key, or `ttl` is not above 0.

    Example:
        >>> sealer = TokenSealer([TokenSealer.generate_key()])
        >>> tracker = ai.completion_config("support-bot", context).create_tracker()
        >>> sealed = sealer.seal(tracker.resumption_token)
        >>> ai.create_tracker(sealer.unseal(sealed), context).run_id == tracker.run_id
        True
    """

    def __init__(self, keys: Iterable[str | bytes], *, ttl: float | None = THIRTY_DAYS) -> None:
        if isinstance(keys, str | bytes):
            raise TypeError("keys is a list of Fernet keys, not one key: TokenSealer([key])")
        if not isinstance(keys, Iterable):
            given = None if keys is None else type(keys).__name__
            raise TypeError(f"keys is a list of Fernet keys, not {given}")
        named = [_named_key(position, key) for position, key in enumerate(keys)]
        if not named:
            raise ValueError("a TokenSealer needs a key: TokenSealer([TokenSealer.generate_key()])")
        self._ttl = None if ttl is None else check_seconds("ttl", ttl)
        self._key_id = named[0][0]
        self._key_ids = {key_id for key_id, _ in named}
        self._fernet = MultiFernet([fernet for _, fernet in named])

    @staticmethod
    def generate_key() -> str:
        """Return a new Fernet key. Keep it where you keep secrets."""
        return Fernet.generate_key().decode("ascii")

    def seal(self, token: str) -> str:
        """Return a sealed token, each time another text.

        Args:
            token: The resumption token of a run of an AI Config or of an agent graph.

        Raises:
            TypeError: If `token` is not a string.
            InvalidResumptionTokenError: If `token` is no resumption token.
        """
        decode_any(token)
        return f"{self._key_id}.{self._fernet.encrypt(token.encode('utf-8')).decode('ascii')}"

    def unseal(self, sealed: str) -> str:
        """Return the resumption token that was sealed.

        Args:
            sealed: What `seal` returned, here or in another process that has one of the keys.

        Raises:
            TypeError: If `sealed` is not a string.
            InvalidResumptionTokenError: If `sealed` is a plain token, has expired, was changed, or was sealed with
                another key. The message is for the log, and quotes nothing of the token. Do not tell an outsider
                which of these it was.
        """
        if not isinstance(sealed, str):
            raise TypeError(f"a sealed token is a str, not {type(sealed).__name__}")
        if len(sealed) > MAX_SEALED_LENGTH:
            raise _invalid(f"it has {len(sealed):,} characters, more than {MAX_SEALED_LENGTH:,}")
        key_id, dot, token = sealed.partition(".")
        if not dot:
            fault = "it is a plain one" if is_token(sealed) else "it has no key id"
            raise _invalid(f"{fault}; give what seal() returned, or what a handler with this sealer handed out")
        if key_id not in self._key_ids:
            raise _invalid(
                "it was sealed with a key that is not among this sealer's; all processes need the same keys"
            )
        try:
            # Fernet alone would skip the characters that are not Base64.
            plain = self._fernet.decrypt(token if _BASE64.fullmatch(token) else "").decode("utf-8", "replace")
        except InvalidToken:
            raise _invalid("it was changed after it was sealed; hand it on as it is") from None
        sealed_at = self._fernet.extract_timestamp(token)
        if self._ttl is not None and sealed_at + self._ttl < time.time():
            raise _invalid("it has expired; ttl= says when")
        if not is_token(plain):
            raise _invalid("what was sealed is not a resumption token")
        return plain

    def __repr__(self) -> str:
        return f"TokenSealer(<{len(self._key_ids)} keys>, ttl={self._ttl})"


def _named_key(position: int, key: str | bytes) -> tuple[str, Fernet]:
    if not isinstance(key, str | bytes):
        raise TypeError(f"keys[{position}] is a Fernet key in text or bytes, not {type(key).__name__}")
    try:
        fernet = Fernet(key)
    except ValueError:
        raise ValueError(
            f"keys[{position}] is not a Fernet key, 32 bytes in URL-safe Base64; generate_key() makes one"
        ) from None
    digest = hashlib.sha256(b"langchain_ldai key id\0" + urlsafe_b64decode(key))
    return digest.hexdigest()[:_KEY_ID_LENGTH], fernet


def _invalid(reason: str) -> InvalidResumptionTokenError:
    return InvalidResumptionTokenError(f"not a sealed resumption token: {reason}")
