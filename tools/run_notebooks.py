"""Runs the notebooks and keeps their outputs: ``python tools/run_notebooks.py``."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def executed(path: Path, folder: Path) -> NotebookNode:
    """A notebook with new outputs, small enough to be kept; run in a folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,  # a slow machine sends one cell's prints in several pieces
    ).execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # times
        if cell.cell_type == "code":
            cell.outputs = [_small(output) for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def _small(output: NotebookNode) -> NotebookNode:
    # Pillow gives photographs as JPEG too, and explanations have one in their HTML; PNG is ten times as large
    if {"image/jpeg", "text/html"} & output.get("data", {}).keys():
        output.data.pop("image/png", None)
    return output


if __name__ == "__main__":
    for each in NOTEBOOKS:
        nbformat.write(executed(each, each.parent), each)
