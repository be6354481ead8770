"""Weights that fp16 holds exactly are stored as fp16, and nothing changes but the size."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
GENERATOR = np.random.default_rng(0)


def test_answers_stay_the_same_to_the_bit_and_the_file_becomes_smaller(tmp_path: Path):
    exact = GENERATOR.normal(size=(64, 64)).astype(np.float16).astype(np.float32)
    inexact = GENERATOR.normal(size=(64, 64)).astype(np.float32)
    overflowing = np.full((64, 64), 1e6, dtype=np.float32)
    small = np.ones(64, dtype=np.float32)
    weights = {"exact": exact, "inexact": inexact, "overflowing": overflowing, "small": small}
    model = chain(weights)
    before = model.SerializeToString()
    assert packer().pack(model) == 1
    after = model.SerializeToString()
    assert len(before) - len(after) > 64 * 64 * 2 - 200
    x = GENERATOR.normal(size=(3, 64)).astype(np.float32)
    answers = [onnxruntime.InferenceSession(file).run(None, {"x": x})[0] for file in (before, after)]
    assert np.array_equal(answers[0], answers[1])


def test_a_packed_file_is_gzipped_and_takes_the_place_of_the_other(tmp_path: Path):
    file = tmp_path / "m.onnx"
    exact = GENERATOR.normal(size=(64, 64)).astype(np.float16).astype(np.float32)
    onnx.save(chain({"exact": exact}), file)
    packer().main(file)
    assert [left.name for left in tmp_path.iterdir()] == ["m.onnx.gz"]
    packed = gzip.decompress((tmp_path / "m.onnx.gz").read_bytes())
    x = GENERATOR.normal(size=(3, 64)).astype(np.float32)
    np.testing.assert_array_equal(onnxruntime.InferenceSession(packed).run(None, {"x": x})[0], x @ exact)


def chain(weights: dict[str, np.ndarray]):
    """x times one weight after the other."""
    nodes, last = [], "x"
    for name, weight in weights.items():
        nodes.append(
            onnx.helper.make_node("MatMul" if weight.ndim == 2 else "Mul", [last, name], [f"{name}.y"])
        )
        last = f"{name}.y"
    put = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 64]) for name in ("x", last)
    ]
    stored = [onnx.numpy_helper.from_array(weight, name) for name, weight in weights.items()]
    graph = onnx.helper.make_graph(nodes, "chain", put[:1], put[1:], stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def packer():
    file = Path(__file__).parents[2] / "web" / "pack.py"
    spec = importlib.util.spec_from_file_location("pack", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
