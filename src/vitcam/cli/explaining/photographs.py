"""The photographs of a run: found on disk, each with a name of its own for its output."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitcam.cli.explaining.manifest import Failed
from vitcam.errors import ImageError
from vitcam.images import IMAGE_SUFFIXES, find_images

# file systems allow 255 bytes; a method's name, an ending and four bytes per letter must fit too
LONGEST_NAME = 50


@dataclass(frozen=True)
class Photograph:
    """A photograph to explain.

    Attributes:
        path: as found.
        name: what its output files begin with; no two of a run are the same.
    """

    path: Path
    name: str


def find_photographs(
    arguments: Sequence[str], output: Path, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> tuple[list[Photograph], list[Failed]]:
    """The photographs that files, folders and patterns name, each once.

    Args:
        arguments: see :func:`vitcam.images.find_images`.
        output: the folder for output. What an earlier run left in it is no photograph, so a folder above it
            doesn't include it; a file in it can still be named.
        suffixes: what the names of files in folders end with.

    Returns:
        The photographs, and for each argument that found none, why.
    """
    paths: dict[Path, Path] = {}
    failures: list[Failed] = []
    for argument in arguments:
        try:
            found = find_images([argument], suffixes)
        except ImageError as error:
            failures.append(Failed(argument, str(error)))
            continue
        for path in found:
            if not _is_output(path, argument, output):
                paths.setdefault(path.resolve(), path)
    unique = list(paths.values())
    return [Photograph(*pair) for pair in zip(unique, unique_names(unique), strict=True)], failures


def may_be_found_later(argument: str) -> bool:
    """Whether a folder or a pattern without photographs may yet hold files of another kind of input.

    Which kind is meant is known when the model is.

    Example:
        >>> may_be_found_later("things"), may_be_found_later("clips/*.mp4"), may_be_found_later("cat.jpg")
        (True, True, False)
    """
    return Path(argument).is_dir() or glob.has_magic(argument)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each path: its stem; with its folder's name before it where several have the same.

    Names that differ in case only count as the same, as they are on many file systems.

    Example:
        >>> unique_names([Path("a/cat.jpg"), Path("b/cat.jpg"), Path("b/dog.jpg"), Path("b/dog.png")])
        ['a-cat', 'b-cat', 'b-dog', 'b-dog-2']
    """
    stems = [path.stem[:LONGEST_NAME] for path in paths]
    times = Counter(stem.casefold() for stem in stems)
    taken: set[str] = set()
    names = []
    for path, stem in zip(paths, stems, strict=True):
        folder = path.absolute().parent.name[:LONGEST_NAME]
        wanted = stem if times[stem.casefold()] == 1 else f"{folder}-{stem}".strip("-")
        name = next(name for name in _numbered(wanted) if name.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _is_output(path: Path, argument: str, output: Path) -> bool:
    if not Path(argument).is_dir() or Path(argument).resolve() == output.resolve():
        return False
    return output.resolve() in path.resolve().parents
