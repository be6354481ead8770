"""From logits to probabilities: the one rule for all that shows or measures them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def to_probabilities(
    logits: Float[Tensor, "*batch classes"], multi_label: bool
) -> Float[Tensor, "*batch classes"]:
    """Softmax over the classes; the sigmoid of each logit where classes don't exclude each other.

    A model with a single logit has nothing that its class could share a softmax with, which would be 1 for every
    image: it was trained with a sigmoid, and its probability is that.

    Args:
        logits: of any leading dimensions.
        multi_label: whether an image can have several of the classes.

    Example:
        >>> to_probabilities(torch.tensor([[0.0, 0.0]]), multi_label=False)
        tensor([[0.5000, 0.5000]])
        >>> to_probabilities(torch.tensor([[0.0]]), multi_label=False)
        tensor([[0.5000]])
    """
    return logits.sigmoid() if multi_label or logits.shape[-1] == 1 else logits.softmax(dim=-1)
