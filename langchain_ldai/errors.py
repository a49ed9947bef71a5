"""The exceptions that the library raises, and how it logs those of others."""

import traceback


class InvalidResumptionTokenError(ValueError):
    """A text is no resumption token, or a token is of another AI Config than the one asked to resume it."""


class LedgerUnavailableError(Exception):
    """A metric was dropped: the ledger did not claim it in time, or nothing could keep it until then."""


class WrongResultError(TypeError):
    """A function or method of the caller returned the wrong thing. The message says what it should return."""


MAX_NAME_LENGTH = 50
"""The longest name that a log quotes from an exception, in characters."""


def without_message(error: BaseException) -> str:
    """Return an exception's type and traceback for a log. Its message is left out, as it may quote a prompt.

    The key of a `KeyError` is quoted if it looks like a name.
    """
    is_name = isinstance(error, KeyError) and len(error.args) == 1 and str(error.args[0]).isidentifier()
    is_told = isinstance(error, WrongResultError) or (is_name and len(str(error)) <= MAX_NAME_LENGTH)
    said = f": {error}" if is_told else ""
    return "".join([type(error).__name__, said, "\n", *traceback.format_tb(error.__traceback__)]).rstrip()
