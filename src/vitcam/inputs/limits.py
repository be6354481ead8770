"""What reading a file may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadingLimits:
    """What reading a file of a stranger may cost: a small file may hold much.

    Attributes:
        memory: bytes of what is read of it.
        work: bytes that are decoded on the way there, such as the frames of a video between those that are wanted.

    Example:
        >>> ReadingLimits(memory=600_000_000, work=30_000_000_000).memory
        600000000
    """

    memory: int
    work: int
