"""Pictures that follow one another in a file."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from vitcam.errors import VitcamError

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
"""By how the name of a file ends."""

QUALITY = 85
"""Of WebP: at 85 the edges of a heatmap show no blocks."""


def animated(frames: Sequence[Image.Image], suffix: str, seconds: float) -> bytes:
    """An animation that goes on and on, as the content of a file.

    Args:
        frames: RGB, all of one size.
        suffix: ".webp", whose colours are all there, or ".gif", which every program shows.
        seconds: how long each frame stands.

    Raises:
        VitcamError: there are no frames, or there is no such format.

    Example:
        >>> frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green")]
        >>> len(animated(frames, ".gif", seconds=0.5)) > 100
        True
    """
    if suffix not in FORMATS:
        raise VitcamError(
            f"an animation is a file that ends in {' or '.join(FORMATS)}; got {suffix or 'none'!r}"
        )
    if not frames:
        raise VitcamError("there are no frames to make an animation of")
    if not 0.01 <= seconds <= 60:
        raise VitcamError(f"a frame of an animation stands for 0.01 to 60 seconds; got {seconds}")
    file = BytesIO()
    first, *others = frames
    options = {"quality": QUALITY} if suffix == ".webp" else {"disposal": 1}
    first.save(
        file,
        FORMATS[suffix],
        save_all=True,
        append_images=others,
        duration=round(1000 * seconds),
        loop=0,
        **options,
    )
    return file.getvalue()
