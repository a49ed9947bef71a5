"""The notebook of the cookbook does what it shows, in a kernel as Jupyter starts one."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

COOKBOOK = Path(__file__).parent.parent / "cookbook"
PRINTED = """\
True friendly local-parrot
You help Sandy with the kettle, in one sentence.
Hold the button
success 1 TokenUsage(total=18, input=15, output=3)
Hold the button
success, with first token
first
  $ld:ai:duration:total
  $ld:ai:feedback:user:positive
  $ld:ai:generation:success
  $ld:ai:tokens:input
  $ld:ai:tokens:output
  $ld:ai:tokens:total
second
  $ld:ai:duration:total
  $ld:ai:generation:success
  $ld:ai:tokens:input
  $ld:ai:tokens:output
  $ld:ai:tokens:total
  $ld:ai:tokens:ttf
"""


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    """The notebook as it is stored."""
    return nbformat.read(COOKBOOK / "first_look.ipynb", as_version=nbformat.NO_CONVERT)


def test_the_notebook_shows_a_run_its_report_and_a_thumb(
    notebook: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cell runs, sync and async, while the kernel's event loop runs; both runs and the thumb arrive."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")

    with TemporaryDirectory() as sockets:  # whose path is short enough; ports could be taken by others meanwhile
        config = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
        options = {"timeout": 600, "startup_timeout": 600, "resources": {"metadata": {"path": COOKBOOK}}}
        NotebookClient(notebook, config=config, **options).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert {output.name for output in outputs} == {"stdout"}
    assert "".join(output.text for output in outputs) == PRINTED


def test_the_notebook_is_stored_without_outputs(notebook: nbformat.NotebookNode) -> None:
    """What a run leaves in the file would change with each run."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)
