"""The exceptions that the library raises on its own account, and how foreign ones are logged."""

import traceback


class InvalidResumptionTokenError(ValueError):
    """A resumption token could not be read, or names another AI Config than the one asked for."""


class LedgerUnavailableError(Exception):
    """A metric was dropped, because the ledger in which to claim it could not be reached in time."""


class WrongResultError(TypeError):
    """A function or method of the caller's returned something else than it should, which the message says."""


MAX_NAME_LENGTH = 50
"""How long a name in an exception's message is that a log tells, in characters."""


def without_message(error: BaseException) -> str:
    """Return an exception's type and traceback for a log, without its message, which may quote a prompt.

    A key that was looked up and not found is told, where it looks like a name.
    """
    is_name = isinstance(error, KeyError) and len(error.args) == 1 and str(error.args[0]).isidentifier()
    is_told = isinstance(error, WrongResultError) or (is_name and len(str(error)) <= MAX_NAME_LENGTH)
    said = f": {error}" if is_told else ""
    return "".join([type(error).__name__, said, "\n", *traceback.format_tb(error.__traceback__)]).rstrip()
