"""Who is here: what is being computed for a visitor, and which files are theirs."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vitcam.app.queue import Stop
from vitcam.app.uploads import delete_upload

GRACE = 300
"""Seconds after which one who has left is forgotten. A telephone that sleeps looks as if its owner had left."""

MOST = 200
"""Visitors who are known at a time; the one who did something longest ago makes room."""

KEPT = 8
"""Files that are kept of a visitor: those in the boxes, and those whose maps may be on display."""


@dataclass
class Session:
    """One visitor, which is one open page.

    Attributes:
        stops: of the work that is being done, with its kind.
        uploads: the files that were used, the last one at the end.
        packed: the folders to download, by the place on the page.
        fault: what was said to be wrong with the last question about classes; "" if nothing was.
        leaving: forgets the visitor after a while; None if they are here.
    """

    stops: dict[Stop, str] = field(default_factory=dict)
    uploads: list[Path] = field(default_factory=list)
    packed: dict[str, Path] = field(default_factory=dict)
    fault: str = ""
    leaving: threading.Timer | None = None


class Sessions:
    """The visitors who are here, by their sessions.

    Args:
        files: the folder whose files may be deleted.
        keep: files in it that belong to nobody.
        forgotten: is told the session of one who has left for good.
        grace: seconds until then.
    """

    def __init__(
        self,
        files: Path,
        keep: tuple[Path, ...] = (),
        forgotten: Callable[[str], object] = lambda session: None,
        grace: float = GRACE,
    ) -> None:
        self._files = files
        self._keep = keep
        self.forgotten = forgotten
        self._grace = grace
        self._sessions: dict[str, Session] = {}
        self._lock = threading.RLock()

    @contextmanager
    def working(self, session: str, kind: str) -> Iterator[Stop]:
        """Inside, something is computed for a visitor; it is to end when they say so, leave, or don't look on.

        Args:
            session: the visitor's.
            kind: of work, for ``stop``.
        """
        stop = Stop()
        with self._lock:
            self._session(session).stops[stop] = kind
        try:
            yield stop
        finally:
            stop.tell()
            with self._lock:
                if session in self._sessions:
                    self._sessions[session].stops.pop(stop, None)

    def stop(self, session: str, kind: str | None = None) -> None:
        """Ends what is being computed for a visitor; work of one kind, or all of it."""
        with self._lock:
            for stop, own in self._sessions.get(session, Session()).stops.items():
                if kind in (own, None):
                    stop.tell()

    def uses(self, session: str, photograph: Path) -> None:
        """A visitor uses a photograph. Those of theirs that were used longest ago aren't kept."""
        if photograph.is_file():
            photograph.touch()  # gradio deletes what wasn't touched for long
        with self._lock:
            uploads = self._session(session).uploads
            if photograph in uploads:
                uploads.remove(photograph)
            uploads.append(photograph)
            gone, uploads[:] = uploads[:-KEPT], uploads[-KEPT:]
            self._delete(gone)

    def packs(self, session: str, place: str, folder: Path | None) -> None:
        """What a visitor can download is in this folder now; the former one isn't kept."""
        with self._lock:
            packed = self._session(session).packed
            before = packed.pop(place, None)
            if folder is not None:
                packed[place] = folder
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def is_news(self, session: str, fault: str) -> bool:
        """Whether a visitor hasn't been told just this: two models may find the same fault with one photograph."""
        with self._lock:
            state = self._session(session)
            before, state.fault = state.fault, fault
        return fault != before

    def leave(self, session: str) -> None:
        """A visitor's page is closed: nothing is computed for it any more, and after a while it is forgotten."""
        self.stop(session)
        with self._lock:
            if session in self._sessions and self._sessions[session].leaving is None:
                timer = threading.Timer(self._grace, self._gone, [session])
                timer.daemon = True
                self._sessions[session].leaving = timer
                timer.start()

    def close(self) -> None:
        """The app ends: so does all work."""
        with self._lock:
            for session, state in self._sessions.items():
                self.stop(session)
                if state.leaving is not None:
                    state.leaving.cancel()

    def _session(self, session: str) -> Session:
        state = self._sessions[session] = self._sessions.pop(session, Session())
        if state.leaving is not None:  # they are back
            state.leaving.cancel()
            state.leaving = None
        idle = [one for one, other in self._sessions.items() if not other.stops and one != session]
        for one in idle[: max(len(self._sessions) - MOST, 0)]:
            self._forget(one)
        return state

    def _gone(self, session: str) -> None:
        with self._lock:
            if session in self._sessions and self._sessions[session].leaving is not None:
                self._forget(session)

    def _forget(self, session: str) -> None:
        with self._lock:
            state = self._sessions.pop(session)
            self._delete(state.uploads)
        for folder in state.packed.values():
            shutil.rmtree(folder, ignore_errors=True)
        self.forgotten(session)

    def _delete(self, photographs: list[Path]) -> None:
        """Uploads of the same photograph share a file: it stays as long as anybody uses it."""
        used = {path for state in self._sessions.values() for path in state.uploads}
        for path in set(photographs) - used - set(self._keep):
            if path.is_relative_to(self._files):
                delete_upload(path)
