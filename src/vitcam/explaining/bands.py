"""What the bands of an input count, and what they are called."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import VitcamError

COLOURS = ("red", "green", "blue")


def shares_of(
    sizes: Float[Tensor, "batch targets bands"] | None, method: str
) -> Float[Tensor, "batch targets bands"]:
    """Each band's part in the sum over all; 0 where nothing counts.

    Raises:
        VitcamError: there are none, since the method doesn't tell.

    Example:
        >>> shares_of(torch.tensor([[[1.0, 3.0]]]), "ixg")
        tensor([[[0.2500, 0.7500]]])
    """
    if sizes is None:
        raise VitcamError(
            f"{method} doesn't tell what bands count: take captum:IntegratedGradients or another of captum's methods "
            "of gradients, attnlrp, or (of a model of other bands than colours) ixg"
        )
    total = sizes.sum(dim=2, keepdim=True)
    return sizes / torch.where(total > 0, total, 1.0)


def names_of(count: int) -> tuple[str, ...]:
    """What so many bands are called.

    Example:
        >>> names_of(3), names_of(2)
        (('red', 'green', 'blue'), ('band 0', 'band 1'))
    """
    return COLOURS if count == len(COLOURS) else tuple(f"band {number}" for number in range(count))
