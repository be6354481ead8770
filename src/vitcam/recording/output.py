"""From whatever a model returns to its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import ModelError


def find_logits(output: Any) -> Float[Tensor, "batch classes"] | None:
    """The logits in a model's output, or None: a tensor, ``.logits``, ``["logits"]``, or a tuple's first."""
    candidate = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if isinstance(candidate, tuple | list) and candidate:
        candidate = candidate[0]
    if isinstance(candidate, Tensor) and candidate.dim() == 2 and candidate.is_floating_point():
        return candidate
    return None


def logits_of(output: Any) -> Float[Tensor, "batch classes"]:
    """The logits in a model's output.

    Raises:
        ModelError: there are none; the message says what the model returned.

    Example:
        >>> logits_of(model(images)).shape
        torch.Size([8, 1000])
    """
    logits = find_logits(output)
    if logits is None:
        raise ModelError(
            f"the model returned {_describe(output)}, in which there are no logits of shape (batch, classes). "
            "Use a model with a classification head, or pass `targets` as a function from the model's output "
            "to one score per image, for example targets=lambda output: output.pooler_output[:, 0]."
        )
    return logits


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if hasattr(output, "keys"):
        return f"{type(output).__name__} with {', '.join(map(str, output.keys()))}"
    return f"a {type(output).__name__}"
