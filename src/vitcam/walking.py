"""What lies at a path, and in a folder and below it: each folder once, whatever its links lead to."""

from __future__ import annotations

import glob
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

_NO_FILES = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def kind_of_no_file(path: Path) -> str | None:
    """What lies at a path, if it is no file: to read from a pipe or a device may never end.

    Raises:
        OSError: nothing is there, or it can't be looked up.

    Example:
        >>> kind_of_no_file(Path("things")), kind_of_no_file(Path("things/cat/0.jpg"))
        ('folder', None)
    """
    return _NO_FILES.get(stat.S_IFMT(path.stat().st_mode))


def walk(
    folder: Path, refused: Callable[[OSError], object] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it, each with the sorted names of what it holds besides folders.

    Hidden ones are passed over. Links to folders are followed once the folders themselves are through: to each
    folder only if it wasn't gone through already, and never up to a folder that the link is in. So a walk ends,
    and a loop adds nothing.

    Args:
        folder: where to begin; it may be hidden, or a link.
        refused: is told of a folder that can't be listed, and the walk goes on; without it the error is raised.

    Raises:
        OSError: a folder can't be listed.

    Example:
        >>> [(folder.as_posix(), names[:2]) for folder, names in walk(Path("things"))][:2]
        [('things', ['boxes.csv']), ('things/cat', ['0.jpg', '1.jpg'])]
    """
    seen: set[str] = set()
    starts = deque([folder])
    while starts:
        waiting = [starts.popleft()]
        while waiting:
            here = waiting.pop()
            real = os.path.realpath(here)
            if real in seen:
                continue
            seen.add(real)
            try:
                folders, links, others = _listed(here)
            except OSError as error:
                if refused is None:
                    raise
                refused(error)
                continue
            yield here, others
            waiting += [here / name for name in reversed(folders)]
            starts += [here / name for name in links if not _leads_up(here / name)]


def _listed(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """The names of its folders, of links to folders, and of everything else, sorted; hidden ones left out."""
    folders: list[str] = []
    links: list[str] = []
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                kind = (links if entry.is_symlink() else folders) if _is_folder(entry) else others
                kind.append(entry.name)
    return sorted(folders), sorted(links), sorted(others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: whoever opens it is told
        return False


def _leads_up(link: Path) -> bool:
    """Whether it leads to a folder that it is in itself."""
    return Path(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(link))


def matches(pattern: str, refused: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """What a pattern such as ``photos/*.jpg`` matches, as ``glob`` understands it; ``**`` walks.

    ``*``, ``?`` and ``**`` pass over what is hidden. Some may come twice, by way of a link.

    Args:
        pattern: relative to the working folder, or absolute.
        refused: as for ``walk``.

    Example:
        >>> [path.as_posix() for path in matches("things/**/1.jp*")]
        ['things/cat/1.jpg', 'things/cup/1.jpg', 'things/face/1.jpg']
    """
    path = Path(pattern)
    parts = path.parts[1:] if path.anchor else path.parts
    yield from _matches(Path(path.anchor), parts, refused)


def _matches(
    folder: Path, parts: tuple[str, ...], refused: Callable[[OSError], object] | None
) -> Iterator[Path]:
    if not parts:
        yield folder
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        while rest[:1] == ("**",):
            rest = rest[1:]
        for below, _ in walk(folder, refused):
            yield from _matches(below, rest or ("*",), refused)
    elif glob.has_magic(part):
        for name in _names(folder, refused):
            if fnmatch(name, part) and (part.startswith(".") or not name.startswith(".")):
                yield from _matches(folder / name, rest, refused)
    elif os.path.lexists(folder / part):
        yield from _matches(folder / part, rest, refused)


def _names(folder: Path, refused: Callable[[OSError], object] | None) -> list[str]:
    if not folder.is_dir():
        return []
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        if refused is None:
            raise
        refused(error)
        return []
