"""Noise that belongs to an image, whatever batch it is in."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.methods.passes import content_of


def generators_of(images: Float[Tensor, "images 3 height width"], seed: int) -> list[torch.Generator]:
    """What each image's draws come from: seeded by its own values, so that a batch gives what its images give.

    Example:
        >>> one, other = (torch.rand(3, generator=generators_of(images[:n], 0)[0]) for n in (1, 8))
        >>> one.equal(other)
        True
    """
    seeds = [int(np.random.SeedSequence([seed, content_of(image)]).generate_state(1)[0]) for image in images]
    return [torch.Generator().manual_seed(each) for each in seeds]


def uniform_neighbours(
    images: Float[Tensor, "images 3 height width"], count: int, radius: float, seed: int
) -> Float[Tensor, "count images 3 height width"]:
    """Images that differ in every value by at most ``radius``, uniformly drawn.

    Example:
        >>> uniform_neighbours(images, 2, 0.2, seed=0).shape
        torch.Size([2, 8, 3, 224, 224])
    """
    drawn = [
        torch.rand((count, *images.shape[1:]), generator=generator)
        for generator in generators_of(images, seed)
    ]
    return images + radius * (2 * torch.stack(drawn, dim=1).to(images) - 1)


def normal_neighbours(
    images: Float[Tensor, "images 3 height width"], count: int, magnitude: float, seed: int
) -> Float[Tensor, "count images 3 height width"]:
    """Images with Gaussian noise of a standard deviation of ``magnitude`` times the range of the image's values.

    Example:
        >>> normal_neighbours(images, 2, 0.1, seed=0).shape
        torch.Size([2, 8, 3, 224, 224])
    """
    drawn = [
        torch.randn((count, *images.shape[1:]), generator=generator)
        for generator in generators_of(images, seed)
    ]
    spread = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
    return images + magnitude * spread * torch.stack(drawn, dim=1).to(images)
