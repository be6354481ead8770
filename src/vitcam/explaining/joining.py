"""One explanation of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from vitcam.explaining.explanation import Explanation, names_per_image
from vitcam.images import Pictures


def join(parts: Sequence[Explanation]) -> Explanation:
    """One explanation of all images of several, which are by one method and of one model.

    Example:
        >>> e = vitcam.explain(photo_model, [photo, photo_path("cat")])
        >>> join([e[1], e[0]]).label(0)
        'cat'
    """
    if len(parts) == 1:
        return parts[0]
    values = {name: _joined([getattr(part, name) for part in parts]) for name in names_per_image()}
    return replace(parts[0], **values)


def _joined(values: Sequence[Any]) -> Any:
    """Of one field."""
    first = values[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, tuple):
        return tuple(chain.from_iterable(values))
    return Pictures.chained(values)
