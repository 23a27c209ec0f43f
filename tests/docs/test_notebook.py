"""The notebook runs from top to bottom on what ships, and is committed without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from medlsam.weights.registry import entry, state
from tests.support.paths import ROOT

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"


def test_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.source for cell in code if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.slow
def test_runs(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    assert [state(entry(name)) for name in ("medlam-tiny", "sam-tiny")] == ["ok", "ok"]
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("data:image/png" in str(output.get("data", {}).get("text/html")) for output in shown) == 2
    assert (tmp_path / "quickstart" / "somebody_segmentation.nii.gz").is_file()
    assert (tmp_path / "quickstart" / "results" / "report.html").is_file()
