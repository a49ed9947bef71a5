"""The `ldai_*` metadata that the handler writes into the start events of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from langchain_ldai._wire.tokens import RunIdentity

RUN_ID_KEY: Final = "ldai_run_id"
CONFIG_KEY_KEY: Final = "ldai_config_key"
VARIATION_KEY_KEY: Final = "ldai_variation_key"
RESUMPTION_TOKEN_KEY: Final = "ldai_resumption_token"
"""The metadata keys that a handler writes. With `resume=True` the caller gives a token under the last."""
JUDGE_KEY: Final = "ldai_judge"
"""The metadata key by which a judge's own call is known; its value is the judge's key."""

RUN_ROOT_KEY: Final = "ldai_run_root"
"""The key that a handler with `spans="mark"` writes, too: "true" at the root of the run, else "false"."""


def marks_of(identity: RunIdentity, token: str, *, is_sealed: bool) -> dict[str, str]:
    """Return what the start events of a run, or of a named node, get into their metadata."""
    marks = {RESUMPTION_TOKEN_KEY: token, RUN_ID_KEY: identity.run_id}
    if not is_sealed:
        marks[CONFIG_KEY_KEY] = identity.config_key
        if identity.variation_key:
            marks[VARIATION_KEY_KEY] = identity.variation_key
    return marks
