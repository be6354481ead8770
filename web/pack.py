"""Halves what a visitor has to load: weights whose values fp16 holds exactly are stored as fp16, and all is gzipped.

The runtime turns them back into the same fp32 numbers when it opens the model, so that the answers stay the same to
the bit. vitcam's embedded model was published in fp16, so this goes for nearly all of its weights.

Usage: python pack.py MODEL.onnx, which becomes MODEL.onnx.gz.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORTHWHILE = 1024
"""Values; the nodes that smaller weights would need cost more than they save."""


def pack(model: onnx.ModelProto) -> int:
    """Store exact weights as fp16, in place.

    Returns:
        How many weights it was.
    """
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < WORTHWHILE:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):  # what overflows isn't exact
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
            casts.append(
                helper.make_node("Cast", [weight.name], [name], f"{name}.unpack", to=TensorProto.FLOAT)
            )
    others = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *others])
    return len(casts)


def main(path: Path) -> None:
    """Pack one file and say what it brought."""
    before = path.stat().st_size
    model = onnx.load(path)
    packed = pack(model)
    onnx.checker.check_model(model)
    compressed = gzip.compress(model.SerializeToString(), mtime=0)
    becomes = path.with_name(f"{path.name}.gz")
    becomes.write_bytes(compressed)
    path.unlink()
    print(f"{becomes}: {packed} weights as fp16, {before / 1e6:.1f} MB became {len(compressed) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
