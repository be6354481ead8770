"""From whatever a model returns to its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import ModelError


def find_logits(output: Any) -> Float[Tensor, "batch classes"] | None:
    """The logits in a model's output; None if there are none, or if they can't be told from features.

    They are the output itself, its ``.logits`` or its ``["logits"]``. Of a tuple or list they are the first element,
    as in (logits, attention maps) or (logits, logits of an auxiliary head), unless there is another table
    (batch, columns) of another width: (features, logits) and (logits, features) look alike.
    """
    candidate = _named(output)
    if isinstance(candidate, tuple | list) and candidate:
        candidate = None if _is_ambiguous(candidate) else candidate[0]
    return candidate if _is_table(candidate) else None


def logits_of(output: Any) -> Float[Tensor, "batch classes"]:
    """The logits in a model's output.

    Raises:
        ModelError: there are none, or several tensors could be; the message says what the model returned.

    Example:
        >>> logits_of(model(images)).shape
        torch.Size([8, 1000])
    """
    logits = find_logits(output)
    if logits is not None:
        return logits
    if _is_ambiguous(_named(output)):
        raise ModelError(
            f"the model returned {_describe(_named(output))}: which of them are the logits and which are features "
            "can't be known. Let it return the logits alone, or under a name (`logits`), or pass `targets` as a "
            "function from its output to one score per image, for example targets=lambda output: output[1][:, 0]"
        )
    raise ModelError(
        f"the model returned {_describe(output)}, in which there are no logits of shape (batch, classes). "
        "Use a model with a classification head, or pass `targets` as a function from the model's output "
        "to one score per image, for example targets=lambda output: output.pooler_output[:, 0]."
    )


def _named(output: Any) -> Any:
    """What a model calls logits; its whole output if it has no such name."""
    return output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)


def _is_table(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2 and value.is_floating_point()


def _is_ambiguous(candidate: Any) -> bool:
    """Whether the first of several is a table (batch, columns), and another one is a wider or narrower table."""
    if not isinstance(candidate, tuple | list) or not candidate or not _is_table(candidate[0]):
        return False
    return len({element.shape[1] for element in candidate if _is_table(element)}) > 1


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if hasattr(output, "keys"):
        return f"{type(output).__name__} with {', '.join(map(str, output.keys()))}"
    if isinstance(output, tuple | list) and any(isinstance(element, Tensor) for element in output):
        elements = (
            str(tuple(element.shape)) if isinstance(element, Tensor) else type(element).__name__
            for element in output
        )
        return f"a {type(output).__name__} of {' and '.join(elements)}"
    return f"a {type(output).__name__}"
