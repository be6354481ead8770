"""What changes in time, and its map, one moment after the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vitcam.errors import VitcamError
from vitcam.explaining.explanation import Explanation
from vitcam.inputs import KINDS
from vitcam.render.animation import animated
from vitcam.render.colors import DEFAULT_COLORMAP
from vitcam.render.overlay import DEFAULT_OPACITY
from vitcam.render.stack import beside
from vitcam.writing import write_whole

GAP = 8
"""Pixels between a moment and itself under its map."""


@dataclass(frozen=True, eq=False)
class Animation:
    """The frames of a clip, each beside itself under its map.

    Attributes:
        frames: RGB, all of one size.

    Example:
        >>> moving = Animation([Image.new("RGB", (64, 48), colour) for colour in ("red", "green")])
        >>> moving.save("moving.gif", seconds=0.5)
    """

    frames: Sequence[Image.Image]

    def save(self, file: str | os.PathLike[str], seconds: float = 0.25) -> None:
        """Writes it into a file.

        Args:
            file: ends in ".webp" or ".gif".
            seconds: how long each frame stands.

        Raises:
            VitcamError: there is no such format, or the file can't be written.
        """
        path = Path(file)
        write_whole(path, animated(self.frames, path.suffix.lower(), seconds))


def animation(
    explanation: Explanation,
    i: int = 0,
    t: int = 0,
    *,
    opacity: float = DEFAULT_OPACITY,
    colormap: str = DEFAULT_COLORMAP,
) -> Animation:
    """The frames of a clip, each beside itself under the heatmap of that time.

    Args:
        explanation: of clips.
        i: the clip.
        t: the target.
        opacity, colormap: as for :meth:`vitcam.Explanation.overlay`.

    Raises:
        TargetError: there is no such clip or target.
        VitcamError: it isn't of clips; else as for :meth:`vitcam.Explanation.overlay`.

    Example:
        >>> import transformers
        >>> small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        >>> config = transformers.VideoMAEConfig(**small, image_size=32, patch_size=8, num_frames=4)
        >>> clips = torch.randn(1, 4, 3, 32, 32)
        >>> e = vitcam.explain(transformers.VideoMAEForVideoClassification(config).eval(), clips)
        >>> moving = vitcam.animation(e)
        >>> len(moving.frames), moving.frames[0].size
        (4, (264, 128))
        >>> moving.save("clip.webp", seconds=0.5)
    """
    kind = KINDS[explanation.kind]
    if kind.moments is None:
        others = " or ".join(name for name, each in KINDS.items() if each.moments is not None)
        raise VitcamError(
            f"an animation is of a {others}, which changes in time, and this explains a {kind.name}"
        )
    marked = explanation.overlay(i, t, opacity=opacity, colormap=colormap)
    sheets = explanation.photographs[i], marked
    return Animation(
        [
            beside([sheet.crop((box.left, box.top, box.right, box.bottom)) for sheet in sheets], GAP)
            for box in kind.moments(explanation.image_size)
        ]
    )
