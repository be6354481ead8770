"""The small value types that every room shares. They need neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PatchGrid:
    """How a sequence of tokens lies over an image.

    Token ``prefix + row * width + column`` is the patch at (row, column); the ``prefix`` tokens before
    it (class, distillation, registers) belong to no place in the image.

    Attributes:
        height: rows of patches.
        width: columns of patches.
        prefix: tokens in front of the first patch.

    Example:
        >>> PatchGrid(height=14, width=14, prefix=1).tokens
        196
    """

    height: int
    width: int
    prefix: int

    @property
    def tokens(self) -> int:
        """The number of patch tokens."""
        return self.height * self.width

    @property
    def patches(self) -> slice:
        """Where the patch tokens stand in the sequence."""
        return slice(self.prefix, self.prefix + self.tokens)

    def __str__(self) -> str:
        return f"{self.height}×{self.width} patches after {self.prefix} prefix tokens"


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: ``left``/``top`` inclusive, ``right``/``bottom`` = left + width, top + height.

    Example:
        >>> Box(10, 20, 40, 60).width
        30
    """

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def __iter__(self):  # type: ignore[no-untyped-def]  # lets a Box be unpacked like a tuple
        return iter((self.left, self.top, self.right, self.bottom))
