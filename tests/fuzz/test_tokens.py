"""Each decoder of tokens holds against some thousand mutated ones; `make fuzz` gives it a million."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.leaving_out import leave_out

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("decoder", ["decode", "decode_graph", "unseal"])
def test_a_decoder_raises_only_what_it_documents(decoder: str, tmp_path: Path) -> None:
    """Coverage-guided: no other exception, no long message, no slow input."""
    if importlib.util.find_spec("atheris") is None:
        leave_out("atheris is not installed")
    command = [sys.executable, "-m", "tests.fuzz.tokens", decoder]
    options = ["-runs=20000", "-timeout=25", "-max_len=4096", "-seed=7", f"-artifact_prefix={tmp_path}/"]

    fuzzed = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=600)

    assert fuzzed.returncode == 0, fuzzed.stderr[-4000:]
    assert "DONE" in fuzzed.stderr
