"""Work that waits for the disk, or computes outside Python's lock, beside the model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = min(8, max(2, os.cpu_count() or 1))


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int, threads: int = THREADS
) -> Generator[Result, None, None]:
    """Like ``map``, in threads that work ahead of whoever takes the results, which keep their order.

    At most ``ahead`` items beyond the result that is waited for are begun or done, however many there are; the
    items themselves are gone through in the caller's thread. When the caller closes the generator, or an item
    raises, what has begun is finished first, and nothing more is begun.

    Args:
        function: is called in several threads at a time.
        items: one after the other, as there is room.
        ahead: how far the threads may be ahead.
        threads: how many there are.

    Example:
        >>> from contextlib import closing
        >>> with closing(map_ahead(len, ["cat", "cups"], ahead=8)) as lengths:
        ...     list(lengths)
        [3, 4]
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vitcam")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
