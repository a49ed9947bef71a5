"""The exceptions that the library raises on its own account, and how foreign ones are logged."""

import traceback


class InvalidResumptionTokenError(ValueError):
    """A resumption token could not be read, or names another AI Config than the one asked for."""


class LedgerUnavailableError(Exception):
    """A metric was dropped, because the ledger in which to claim it could not be reached in time."""


class WrongResultError(TypeError):
    """A function or method of the caller's returned something else than it should, which the message says."""


def without_message(error: BaseException) -> str:
    """Return an exception's type and traceback for a log, without its message, which may quote a prompt."""
    said = f": {error}" if isinstance(error, WrongResultError) else ""  # our own, which quotes nothing
    return "".join([type(error).__name__, said, "\n", *traceback.format_tb(error.__traceback__)]).rstrip()
