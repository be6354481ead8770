"""What the pages' examples find around them: a checkout, and data of their reader's own."""

from __future__ import annotations

import pytest
from doc_data import make_things
from doc_pages import REPOSITORY


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout, with a dataset ``things`` of the reader's own beside it."""
    for name in ("src", "examples", "docs", "tools", "README.md"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()  # a shell reads it, even where nothing is run
    make_things(tmp_path / "things")
    return tmp_path
