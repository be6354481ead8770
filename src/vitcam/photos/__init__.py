"""Photographs that come with vitcam, for demonstrations and tests; CREDITS.md says whose they are."""

from __future__ import annotations

from pathlib import Path

from vitcam.errors import ImageError

PHOTOS = ("cat", "cup", "astronaut", "cat_and_cup")
"""Their names; ``cat_and_cup`` is composed of two photographs and shows two objects."""


def photo_path(name: str) -> Path:
    """The file of a photograph.

    Args:
        name: one of ``PHOTOS``.

    Raises:
        ImageError: there is no such photograph.

    Example:
        >>> photo_path("cat").name
        'cat.jpg'
    """
    if name not in PHOTOS:
        raise ImageError(f"There is no photograph {name!r} in vitcam. There are: {', '.join(PHOTOS)}.")
    return Path(__file__).parent / f"{name}.jpg"
