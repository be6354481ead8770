"""Two maps that know nothing of the model: what any method must beat."""

from __future__ import annotations

import numpy as np
import torch

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.passes import content_of
from vitcam.recording import Need, Recording


def random(recording: Recording, *, seed: int = 0) -> TokenMap:
    """Uniform noise in 0..1, drawn anew for every image and class.

    The noise is seeded by the image's own values and the class, not by a place in the batch, so that a
    batch gives what its images give one by one.

    Args:
        recording: any; its images and targets seed the noise.
        seed: another seed gives other noise.

    Raises:
        MethodError: the seed isn't a non-negative integer.

    Returns:
        (batch, targets, patches).

    Example:
        >>> vitcam.explain(model, images, method="random", seed=3).method
        'random(seed=3)'
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise MethodError(f"random takes a non-negative integer as seed, not {seed!r}")
    patches = recording.layout.grid.tokens
    maps = []
    for image, targets in zip(recording.images, recording.targets.tolist(), strict=True):
        content = content_of(image)
        # A function's scores have no class; their place among the targets stands for it.
        what = [(0, target) if target >= 0 else (1, place) for place, target in enumerate(targets)]
        generators = [np.random.default_rng([seed, content, *key]) for key in what]
        maps.append([torch.from_numpy(rng.random(patches, dtype=np.float32)) for rng in generators])
    return torch.stack([torch.stack(image_maps) for image_maps in maps]).to(recording.targets.device)


def center(recording: Recording, *, width: float = 0.25) -> TokenMap:
    """A Gaussian in the middle of the image.

    Args:
        recording: any; only shapes are used.
        width: the standard deviation, as a share of the image's height and width.

    Raises:
        MethodError: the width isn't positive.

    Returns:
        (batch, targets, patches), 1 at the centre.

    Example:
        >>> vitcam.explain(model, images, method="center").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    if not width > 0:
        raise MethodError(f"center takes a positive width, not {width!r}")
    grid = recording.layout.grid
    axes = [(torch.arange(length) + 0.5) / length - 0.5 for length in grid.shape]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0)
    gaussian = torch.exp(-squares / (2 * width**2)).flatten().to(recording.targets.device)
    return gaussian.expand(*recording.targets.shape, -1)


RANDOM = Method(
    compute=random,
    needs=lambda options: Need.NOTHING,
    kind="controls",
    summary="control: uniform noise",
    passes="none",
    paper="",
    plain_vit_only=False,
)
CENTER = Method(
    compute=center,
    needs=lambda options: Need.NOTHING,
    kind="controls",
    summary="control: a Gaussian in the middle of the image",
    passes="none",
    paper="",
    class_specific=False,
    plain_vit_only=False,
)
