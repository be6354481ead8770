"""What the site is made of, besides code blocks."""

from __future__ import annotations

import re
import sys

from doc_pages import PAGES, REPOSITORY

from vitcam.methods import METHODS

sys.path.insert(0, str(REPOSITORY / "tools"))
import hooks
from docstrings import plain


def test_docstrings_become_markdown():
    assert plain("As for :func:`explain`.\n\nExample:\n    >>> 1\n    1") == (
        "As for `explain`.\n\nExamples:\n    >>> 1\n    1"
    )
    assert plain("The map is::\n\n    a · b\n") == "The map is:\n\n    a · b\n"
    assert plain("A map.\n\n::\n\n    a · b") == "A map.\n\n\n    a · b"


def test_the_page_of_commands_has_every_command():
    page = hooks.on_page_markdown((REPOSITORY / "docs" / "reference" / "command-line.md").read_text())
    for command in ("explain", "evaluate", "report", "train-head", "methods", "models"):
        assert f"## `vitcam {command}`" in page
    assert "--target CLASS" in page


def test_the_table_of_methods_has_every_method():
    page = (REPOSITORY / "docs" / "choosing.md").read_text()
    listed = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line)
    }
    assert set(METHODS.ours) <= listed


def test_nothing_is_fetched_from_elsewhere():
    for page in PAGES:
        text = (REPOSITORY / page).read_text()
        assert not re.search(r"<(img|script|link|iframe)[^>]+https?:", text), page
        assert not re.search(r"!\[[^\]]*\]\(https?:", text), page
    assert "font: false" in (REPOSITORY / "mkdocs.yml").read_text()


def test_pictures_are_of_modest_size():
    assert sum(file.stat().st_size for file in (REPOSITORY / "docs" / "images").iterdir()) < 2_000_000


def test_links_of_the_readme_lead_somewhere():
    text = (REPOSITORY / "README.md").read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        page = REPOSITORY / (target or "README.md")
        assert page.exists(), f"there is no {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, f"{target} has no section {anchor}"
