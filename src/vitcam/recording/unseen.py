"""Attention that isn't recognised: a product with values of what a product of queries and keys has become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vitcam.recording.lineage import tensors_in
from vitcam.recording.product import Product, as_product, is_product
from vitcam.recording.upstream import IMAGE, Upstream
from vitcam.recording.watch import Watch

_WITH_BIAS = frozenset({torch.baddbmm, Tensor.baddbmm})  # scores with a bias: bias + q kᵀ


class Unseen:
    """Looks for attention that mixes tokens and isn't answered: talking heads, a difference of two maps, a gate.

    It is a product of two tensors of the image (q kᵀ), of which something is made (no softmax that is known, or more
    than that), and which is multiplied with a third (v). Of attention that was recognised and answered nothing comes
    here.

    Args:
        upstream: which tensors come from the image.
        watch: the pass that is watched.

    Attributes:
        found: for each, how many calls were answered before it, and the module that makes it.
    """

    def __init__(self, upstream: Upstream, watch: Watch) -> None:
        self._upstream, self._watch = upstream, watch
        self._scores: Any = WeakTensorKeyDictionary()
        self.found: list[tuple[int, str]] = []

    def see(self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Any) -> None:
        """Takes notice of a function that was called; so do those that follow what tensors come from."""
        self._upstream.see(function, args, keywords, result)
        with_bias = function in _WITH_BIAS
        if not with_bias and not is_product(function):
            if any(tensor in self._scores for tensor in tensors_in((args, keywords))):
                for made in tensors_in((result,)):
                    self._scores[made] = True
            return
        given = (torch.bmm, args[1:], {}) if with_bias else (function, args, keywords)
        product = as_product(*given)
        if product is None or not isinstance(result, Tensor) or not _contracts_one(product):
            return  # answered, among others
        if not all(IMAGE in self._upstream.of(operand) for operand in product.operands):
            return
        # Maps multiplied with maps, as for a rollout, mix no tokens.
        if sum(operand in self._scores for operand in product.operands) == 1:
            stack = self._watch.stack
            self.found.append((self._watch.count, stack[-1] if stack else ""))
        else:
            self._scores[result] = True


def _contracts_one(product: Product) -> bool:
    """Whether a product sums over one axis, and both of its tensors have another that is left."""
    one, other = (set(labels) for labels in product.labels)
    left = set(product.output)
    return len((one & other) - left) == 1 and bool((one - other) & left) and bool((other - one) & left)
