"""What ``compare`` gives: explanations by their methods' names."""

from __future__ import annotations

from typing import Any

from PIL import Image

from vitcam.explanation.explanation import Explanation


class Comparison(dict[str, Explanation]):
    """Explanations of the same images and classes, by the methods' names. In a notebook it shows itself as a picture.

    Example:
        >>> both = vitcam.compare(photo_model, photo, ["agcam", "rollout"], targets=["cat", "cup"])
        >>> list(both), both["rollout"].label()
        (['agcam', 'rollout'], 'cat')
        >>> both.figure(boxes=0.5).save("figure.png")
    """

    def figure(self, **options: Any) -> Image.Image:
        """The figure of all of them: see :func:`vitcam.figure`.

        Args:
            **options: of :func:`vitcam.figure`.
        """
        from vitcam.explanation.figures import figure

        return figure(self, **options)

    def _repr_html_(self) -> str:
        from vitcam.explanation.notebook import as_html

        return as_html(self)

    def _repr_png_(self) -> bytes | None:
        from vitcam.explanation.notebook import as_png

        return as_png(self)
