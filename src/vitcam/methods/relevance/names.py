"""Names of torch functions, by what they do to values."""

from __future__ import annotations

_STRUCTURAL = """
    __get__ __set__ __getitem__ __setitem__ view view_as reshape reshape_as flatten unflatten ravel permute transpose
    t swapaxes swapdims movedim moveaxis squeeze unsqueeze expand expand_as broadcast_to repeat tile
    repeat_interleave cat concat concatenate stack hstack vstack chunk split split_with_sizes tensor_split unbind
    select narrow index_select gather take_along_dim masked_select contiguous clone to type type_as float double half
    bfloat16 cpu cuda roll flip pad unfold fold pixel_shuffle pixel_unshuffle masked_fill masked_fill_ copy_ detach
    detach_ requires_grad_ where sort topk max min amax amin
"""
STRUCTURAL = frozenset(_STRUCTURAL.split())
"""Functions that move or select values and don't change them: torch's own gradient moves messages along."""

_ELEMENTWISE = """
    gelu silu relu relu6 leaky_relu elu selu celu hardswish hardtanh hardsigmoid mish softplus softsign tanh sigmoid
    rsqrt sqrt pow square exp log clamp abs
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Functions of single elements."""

FACTORS = frozenset({"sigmoid", "hardsigmoid", "rsqrt"})
"""Those of them whose result, multiplied with a tensor, is a gate or a norm's statistic."""

_POOLS = """
    mean sum norm linalg_norm linalg_vector_norm avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d
"""
POOLS = frozenset(_POOLS.split())
"""Functions that make one value of several."""
