"""Whose uploads are whose, and how much of them is kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

VISITORS = 2000
"""Visitors whose uploads are known; the one who uploaded or asked something longest ago makes room."""

REMEMBERED = 200
"""Uploads of one visitor that are known to be theirs, whether they are still kept or not."""

LEAST = 2**14
"""Bytes that an upload counts at least, so that there are never many."""


@dataclass(eq=False)
class Arrival:
    """An upload under way.

    Attributes:
        visitor: whose.
        size: its bytes, which room is kept for.
    """

    visitor: str
    size: int


Owned = OrderedDict[str, bool]
"""The paths of one visitor's uploads, and whether each counts as kept for them."""


class Uploads:
    """The uploads of all visitors, of which the oldest are deleted when there are too many.

    One file may be of several visitors: gradio keeps equal uploads in one place.

    Args:
        files: the folder that they are in.
        each: how many bytes are kept of one visitor.
        total: how many are kept in all, those under way included.

    Example:
        >>> uploads = Uploads(Path("uploads"), each=10_000_000, total=100_000_000)
        >>> arrival = uploads.begin("a visitor", 120_000)
        >>> uploads.end(arrival, [Path("uploads/1/cat.jpg")])
        >>> uploads.of("a visitor", "uploads/1/cat.jpg"), uploads.of("another", "uploads/1/cat.jpg")
        (True, False)
    """

    def __init__(self, files: Path, each: int, total: int) -> None:
        self._files = files
        self._each = each
        self._total = total
        self._owned: OrderedDict[str, Owned] = OrderedDict()
        self._arriving: set[Arrival] = set()
        self._lost = 0  # bytes of uploads that broke off, whose files can't be told from those under way
        self._lock = threading.Lock()

    def begin(self, visitor: str, size: int) -> Arrival | None:
        """Makes room for an upload; None if there is none, because too many others are under way."""
        with self._lock:
            coming = size + self._lost + sum(one.size for one in self._arriving)
            if size > self._each or coming > self._total:
                return None
            self._shrink(visitor, self._each - size)
            self._shrink(None, self._total - coming)
            arrival = Arrival(visitor, size)
            self._arriving.add(arrival)
            return arrival

    def end(self, arrival: Arrival, files: Iterable[Path]) -> None:
        """An upload is over: these are its files, none if it broke off."""
        arrived = [str(file) for file in files]
        with self._lock:
            self._arriving.discard(arrival)
            owned = self._of(arrival.visitor)
            for path in arrived:
                owned[path] = True
                owned.move_to_end(path)
            while len(owned) > REMEMBERED:
                path, kept = owned.popitem(last=False)
                if kept:
                    self._delete_unowned([path])
            if not arrived:
                self._lost += arrival.size
            if not self._arriving:
                self._sweep()
            self._shrink(arrival.visitor, self._each)
            self._shrink(None, self._total - self._lost - sum(one.size for one in self._arriving))

    def of(self, visitor: str, path: str) -> bool:
        """Whether a visitor has uploaded what is, or was, at this path."""
        with self._lock:
            return visitor in self._owned and path in self._of(visitor)

    def of_others(self, visitor: str, path: str) -> bool:
        """Whether only others have."""
        with self._lock:
            owners = [one for one, owned in self._owned.items() if path in owned]
            return bool(owners) and visitor not in owners

    def _of(self, visitor: str) -> Owned:
        owned = self._owned.setdefault(visitor, Owned())
        self._owned.move_to_end(visitor)
        while len(self._owned) > VISITORS:
            _, gone = self._owned.popitem(last=False)
            self._delete_unowned(_kept(gone))
        return owned

    def _shrink(self, visitor: str | None, room: int) -> None:
        """Deletes the oldest uploads, of a visitor or of all, until no more than ``room`` bytes are kept."""
        some = list(self._owned.values()) if visitor is None else [self._owned.get(visitor, Owned())]
        there = {path: status for path in set().union(*map(_kept, some)) if (status := _status(Path(path)))}
        size = sum(bytes_ for _, bytes_ in there.values())
        for path, (_, bytes_) in sorted(there.items(), key=lambda item: item[1]):
            if size <= room:
                break
            size -= bytes_
            for owned in some:
                if path in owned:
                    owned[path] = False
            self._delete_unowned([path])

    def _delete_unowned(self, paths: Iterable[str]) -> None:
        for path in set(paths).difference(*map(_kept, self._owned.values())):
            delete_upload(Path(path))

    def _sweep(self) -> None:
        """Deletes what uploads that broke off have left: gradio writes to files beside the uploads' folders."""
        for file in self._files.glob("tmp*"):
            if file.is_file():
                file.unlink(missing_ok=True)
        self._lost = 0


def delete_upload(path: Path) -> None:
    """Deletes an upload, and the folder that gradio made for it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # others' are in it, too
        path.parent.rmdir()


def _kept(owned: Owned) -> set[str]:
    return {path for path, kept in owned.items() if kept}


def _status(path: Path) -> tuple[float, int] | None:
    """When it was used last, and its bytes; None if it is gone: whoever left takes their uploads along."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime, max(status.st_size, LEAST)
