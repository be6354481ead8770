"""What visitors take home."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from vitcam.app.answering import Answer


def maps_npz(answer: Answer) -> bytes:
    """The raw maps as a compressed ``.npz``.

    By each method's name (classes, h, w) float32, raw values on the patch grid; besides, ``classes`` (their
    indices), ``class_names`` and ``probabilities``.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        name: one.heatmaps[0].cpu().numpy() for name, one in answer.explanations.items()
    }
    arrays["classes"] = np.array(answer.classes)
    arrays["class_names"] = np.array(answer.names)
    arrays["probabilities"] = np.array(answer.probabilities)
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()
