"""The examples of docstrings, and the names of the API reference."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from functools import cache

import griffe
from doc_pages import REPOSITORY

REFERENCE = REPOSITORY / "docs" / "reference"
_SHOWN = re.compile(r"^::: (vitcam[\w.]*)\n(?P<options>(?: +.*\n)*)", re.MULTILINE)


@cache
def package() -> griffe.Module:
    """vitcam, read and not run."""
    loaded = griffe.load("vitcam", search_paths=[str(REPOSITORY / "src")])
    assert isinstance(loaded, griffe.Module)
    return loaded


def examples() -> Iterator[doctest.DocTest]:
    """Every docstring of the package that has an example; its ``globs`` are empty."""
    parser = doctest.DocTestParser()
    for thing in _members(package(), inside=True):
        docstring = thing.docstring
        if docstring is not None and ">>>" in docstring.value:
            line = (docstring.lineno or 1) - 1
            yield parser.get_doctest(docstring.value, {}, thing.path, str(thing.filepath), line)


@cache
def reference() -> dict[str, griffe.Object]:
    """The functions, classes and methods that the pages of the reference show, by their paths."""
    shown: dict[str, griffe.Object] = {}
    for page in sorted(REFERENCE.glob("*.md")):
        for match in _SHOWN.finditer(page.read_text(encoding="utf-8") + "\n"):
            thing = _target(package()[match[1].partition(".")[2]])
            alone = "members: []" in match["options"]
            found = [thing] if alone else [thing, *_members(thing)]
            shown |= {each.path: each for each in found if each.is_function or each.is_class}
    return shown


def has_example(thing: griffe.Object) -> bool:
    """Whether its docstring has an example; or its class's uses it; or that of a function which returns it."""
    if _shows(thing):
        return True
    if thing.is_class:
        return any(_shows(each) for each in reference().values() if str(_returned(each)) == thing.name)
    parent = thing.parent
    of_class = parent.docstring.value if parent and parent.is_class and parent.docstring else ""
    lines = [line for line in of_class.splitlines() if line.lstrip().startswith((">>>", "..."))]
    return any(f".{thing.name}(" in line for line in lines)


def _shows(thing: griffe.Object) -> bool:
    return thing.docstring is not None and ">>>" in thing.docstring.value


def _returned(thing: griffe.Object) -> object:
    return thing.returns if isinstance(thing, griffe.Function) else None


def _members(thing: griffe.Object, *, inside: bool = False) -> Iterator[griffe.Object]:
    """What is defined in a module or class; ``inside`` adds submodules, the thing itself and what is private."""
    if inside:
        yield thing
    for name, member in thing.members.items():
        if member.is_alias or not (inside or not name.startswith("_")):
            continue
        if member.is_function or member.is_class or (inside and member.is_module):
            if not inside:
                yield member
            yield from _members(member, inside=inside)


def _target(thing: griffe.Object | griffe.Alias) -> griffe.Object:
    return thing.final_target if isinstance(thing, griffe.Alias) else thing
