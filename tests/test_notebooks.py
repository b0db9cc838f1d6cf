"""The notebooks in examples/ run, every cell of them, and were kept after a run."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells_of(notebook)):
        code = "".join(cell["source"]).replace('"steps": 1000', '"steps": 40')  # a short training
        exec(compile(code, f"{notebook.name}, code cell {number}", "exec"), names)


def test_there_is_one_and_all_were_run_in_order_without_a_fault():
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        cells = cells_of(notebook)
        assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert outputs and not any(output["output_type"] == "error" for output in outputs)
