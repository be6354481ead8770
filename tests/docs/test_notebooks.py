"""The notebooks run, and what is kept of them is small and whole."""

from __future__ import annotations

import sys

import nbformat
import pytest
from doc_pages import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))
from run_notebooks import NOTEBOOKS, executed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
    kept, new = nbformat.read(path, as_version=4), executed(path, tmp_path)
    assert [kinds(cell) for cell in kept.cells] == [kinds(cell) for cell in new.cells]
    assert path.stat().st_size < 1_000_000


def kinds(cell):
    """What kinds of output a cell has, the text of which no other machine repeats to the last digit."""
    return [(output.output_type, sorted(output.get("data", {}))) for output in cell.get("outputs", [])]


def test_prints_are_kept_as_one_whatever_pieces_they_come_in(tmp_path):
    cell = nbformat.v4.new_code_cell(
        "import sys\nfor i in range(3):\n    print(i, flush=True)\n    print('aside', file=sys.stderr, flush=True)"
    )
    path = tmp_path / "prints.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    (new,) = executed(path, tmp_path).cells
    assert [(output.name, output.text) for output in new.outputs] == [("stdout", "0\n1\n2\n")]


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["evaluate", "explain_and_compare"]
