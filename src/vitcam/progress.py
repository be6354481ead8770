"""How far long work is: a bar in a terminal or a notebook, or whatever the caller does with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Watcher = Callable[[int, int], None]
"""Is called with how many are done, and of how many."""


@contextmanager
def watched(progress: bool | Watcher, what: str) -> Iterator[Watcher]:
    """What long work calls after each part of it.

    Args:
        progress: True for a bar (tqdm's: a widget in a notebook, else a line on stderr), which is there from the
            first call until the ``with`` is left; False for nothing; or a function of one's own.
        what: is being counted, such as "image".

    Example:
        >>> with watched(lambda done, total: print(f"{done} of {total}"), "image") as tell:
        ...     tell(8, 10)
        8 of 10
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda _done, _total: None
        return
    from tqdm.auto import tqdm

    with tqdm(unit=what, total=0) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
