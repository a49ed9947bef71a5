"""How long a claim is remembered, and a sealed token good."""

from typing import Final

THIRTY_DAYS: Final = 30 * 24 * 3600.0
"""Seconds for which claims are remembered, and sealed tokens are good, unless told otherwise."""
