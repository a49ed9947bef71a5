"""The keys of the `ldai_*` metadata that a handler writes into the start events of a run, or reads there.

`TrackerFactory.totals_for` gathers what they say of a run, and `RunRecorder.start` writes it.
"""

from __future__ import annotations

from typing import Final

RUN_ID_KEY: Final = "ldai_run_id"
CONFIG_KEY_KEY: Final = "ldai_config_key"
VARIATION_KEY_KEY: Final = "ldai_variation_key"
RESUMPTION_TOKEN_KEY: Final = "ldai_resumption_token"
"""The keys that a handler writes; with a sealer, only `ldai_run_id` and `ldai_resumption_token`.

With `resume=True`, the caller gives the token.
"""

JUDGE_KEY: Final = "ldai_judge"
"""The key that marks a judge's own call; its value is the judge's key."""

RUN_ROOT_KEY: Final = "ldai_run_root"
"""The key that a handler with `spans="mark"` also writes: "true" at the root of the run, else "false"."""
