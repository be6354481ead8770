"""Names of torch functions, by what they do to values."""

from __future__ import annotations

_STRUCTURAL = """
    __get__ __set__ __getitem__ __setitem__ view view_as reshape reshape_as flatten unflatten ravel permute transpose
    t swapaxes swapdims movedim moveaxis squeeze unsqueeze expand expand_as broadcast_to repeat tile
    repeat_interleave cat concat concatenate stack hstack vstack chunk split split_with_sizes tensor_split unbind
    select narrow index_select gather take_along_dim masked_select contiguous clone to type type_as float double half
    bfloat16 cpu cuda roll flip pad unfold fold pixel_shuffle pixel_unshuffle masked_fill masked_fill_ copy_ detach
    detach_ requires_grad_ where sort topk max min amax amin maximum minimum max_pool1d max_pool2d adaptive_max_pool1d
    adaptive_max_pool2d diagonal swapaxes_ squeeze_ unsqueeze_ fill_ zero_ index_put index_put_ scatter index_fill
"""
STRUCTURAL = frozenset(_STRUCTURAL.split())
"""Functions that move or select values and don't change them: torch's own gradient moves messages along."""

JOINING = frozenset({"cat", "concat", "concatenate", "stack", "hstack", "vstack", "where"})
"""Those of them by which constants, such as a class token, are put beside values."""

_STRUCTURAL_NODES = """
    AccumulateGrad AdaptiveMaxPool1D AdaptiveMaxPool2D Alias Amax Amin AsStrided Cat Clone Col2Im ConstantPadNd
    Copy CopyBackwards CopySlices Detach Diagonal Expand Fill Flip Gather Identity Im2Col Index IndexFill
    IndexPut IndexSelect MaskedFill MaskedScatter MaskedSelect Max MaxPool2DWithIndices Maximum Min Minimum
    Permute PixelShuffle PixelUnshuffle ReflectionPad1D ReflectionPad2D Repeat ReplicationPad1D ReplicationPad2D
    ReshapeAlias Roll Scatter Select Slice Sort Split SplitWithSizes Squeeze Stack T ToCopy Topk Transpose
    Unbind Unfold UnsafeSplit UnsafeView Unsqueeze View Where Zero
"""
STRUCTURAL_NODES = frozenset(_STRUCTURAL_NODES.split())
"""The nodes that these functions make in the autograd graph, without ``Backward`` and a number."""

_MIXTURES = """
    cumsum interpolate upsample conv1d conv3d conv_transpose1d conv_transpose2d conv_transpose3d avg_pool3d tril triu
    view_as_real view_as_complex real imag
"""
MIXTURES = frozenset(_MIXTURES.split())
"""Functions linear in their first tensor, the others being constants, that have no reader of their own."""

_ELEMENTWISE = """
    gelu silu relu relu6 leaky_relu elu selu celu hardswish hardtanh hardsigmoid mish softplus softsign tanh sigmoid
    logsigmoid prelu erf rsqrt sqrt pow square exp log log1p expm1 clamp clamp_min clamp_max abs
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Functions of single elements."""

FACTORS = frozenset({"sigmoid", "hardsigmoid", "rsqrt"})
"""Those of them whose result, multiplied with a tensor, is a gate or a norm's statistic."""

SWITCHES = frozenset({"tanh", "erf", "relu6", "hardtanh"})
"""Those of them whose result, multiplied with the tensor that they are taken of, is its gate, as in a GELU that is
written out."""

_POOLS = """
    mean sum var std norm linalg_norm linalg_vector_norm avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d
"""
POOLS = frozenset(_POOLS.split())
"""Functions that make one value of several."""
