"""What an exported file answers: as ``vitcam.explain`` does, for any batch size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import exported_models as models
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import vitcam
from vitcam.export import Exported, describe, export_onnx, exporting
from vitcam.export.description import resized
from vitcam.models.loaded import LoadedModel
from vitcam.types import PatchGrid


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    method: str
    classes: str
    size: tuple[int, int]
    targets: object  # as ``vitcam.explain`` takes them, for each image


CASES = {
    "timm, class token": Case(models.timm_vit, "agcam", "top5", models.SIZE, "top5"),
    "torchvision, nn.MultiheadAttention": Case(
        models.torchvision_vit, "agcam", "all", (32, 32), [0, 1, 2, 3]
    ),
    "Hugging Face, class and distillation token": Case(models.hf_deit, "agcam", "top1", (32, 32), None),
    "Hugging Face, without gradients": Case(models.hf_dinov2, "rollout", "top1", (32, 32), None),
}


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Callable[[str], tuple[LoadedModel | nn.Module, Exported]]:
    """Exports a case, once. A model of another size than ``models.SIZE`` is given as a bare module."""

    @cache
    def once(name):
        case = CASES[name]
        path = tmp_path_factory.mktemp("exported") / "new" / "model.onnx"
        model = models.far_from_zero(case.build())
        if case.size == models.SIZE:
            model = models.loaded(model)
            return model, export_onnx(model, path, case.method, case.classes)
        return model, export_onnx(model, path, case.method, case.classes, image_size=case.size)

    return once


@pytest.mark.parametrize("name", CASES)
def test_answers_as_explain_does(name, export):
    case, (model, result) = CASES[name], export(name)
    session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        images = torch.randn(batch, 3, *case.size, generator=torch.Generator().manual_seed(7))
        logits, targets, heatmaps = session.run(["logits", "targets", "heatmaps"], {"images": images.numpy()})
        of_each = [case.targets] * batch if isinstance(case.targets, list) else case.targets
        expected = vitcam.explain(model, images, method=case.method, targets=of_each)
        assert np.array_equal(targets, expected.targets.numpy())
        np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-5)
        highest = float(expected.heatmaps.max())
        np.testing.assert_allclose(heatmaps, expected.heatmaps.numpy(), atol=1e-5 * highest)
        assert (logits.dtype, targets.dtype, heatmaps.dtype) == (np.float32, np.int64, np.float32)


@pytest.mark.parametrize("name", CASES)
def test_file_needs_nothing_but_standard_operators(name, export):
    file = onnx.load(export(name)[1].path)
    onnx.checker.check_model(file)
    assert {(opset.domain, opset.version) for opset in file.opset_import} == {("", 20)}
    assert [output.name for output in file.graph.output] == ["logits", "targets", "heatmaps"]
    ends = [*file.graph.input, *file.graph.output]
    open_sizes = [[d.dim_param for d in end.type.tensor_type.shape.dim if d.dim_param] for end in ends]
    assert open_sizes == [["batch"]] * 4


def test_file_tells_nothing_of_the_machine_that_wrote_it(export):
    file = onnx.load(export("timm, class token")[1].path)
    noted = [file.graph, *file.graph.node, *file.graph.value_info, *file.graph.initializer]
    assert not any(each.metadata_props for each in noted)


def test_no_weight_is_copied_for_each_token(export):
    """As torch does it for the input projection of nn.MultiheadAttention: 32 numbers become 96."""
    file = onnx.load(export("torchvision, nn.MultiheadAttention")[1].path)
    shapes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in file.graph.value_info]
    assert [32, 96] in shapes
    assert not [shape for shape in shapes if len(shape) > 2 and shape[-2:] == [32, 96]]


def test_agreement_is_told(export):
    agreement = export("timm, class token")[1].agreement
    assert 0 < agreement.heatmaps < 1e-4
    assert 0 < agreement.logits < 1e-4


def test_model_is_left_as_it_was(export):
    model, _ = export("torchvision, nn.MultiheadAttention")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_description_says_all_that_is_needed(export):
    _, result = export("timm, class token")
    described = json.loads(result.path.with_suffix(".json").read_text(encoding="utf-8"))
    assert described == result.description
    (inside,) = onnx.load(result.path).metadata_props
    assert (inside.key, json.loads(inside.value)) == ("vitcam", described)
    assert described == {
        "vitcam": vitcam.__version__,
        "spec": "timm:tiny",
        "method": "agcam",
        "classes": "top5",
        "grid": [2, 3],
        "input": {"height": 32, "width": 48},
        "preprocessing": {
            "size": [32, 48],
            "resize": [40, 60],
            "resize_mode": "shortest",
            "crop": "center",
            "fill": [0, 0, 0],
            "interpolation": "bilinear",
            "antialias": True,
            "arithmetic": "pil",
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.2, 0.3],
        },
        "class_names": ["ant", "bee", "cat", "dog", "élan", "fly, midge", "gnu"],
        "multi_label": False,
        "wordnet_ids": [[f"n0000000{index}"] for index in range(7)],
    }
    assert sorted(file.name for file in result.path.parent.iterdir()) == ["model.json", "model.onnx"]


def test_models_that_say_less():
    grid = PatchGrid(2, 3, 1)
    bare = LoadedModel(torch.nn.Identity(), models.loaded(torch.nn.Identity()).preprocessing)
    described = describe(bare, "unused", "agcam", "all", grid, models.SIZE)
    assert (described["spec"], described["class_names"], described["wordnet_ids"]) == ("custom", None, None)
    of_module = describe(None, "MyModel", "agcam", "all", grid, models.SIZE)
    assert (of_module["spec"], of_module["preprocessing"]) == ("MyModel", None)


def test_another_size_keeps_the_share_that_is_cropped():
    prepare = models.loaded(torch.nn.Identity()).preprocessing
    larger = resized(prepare, (64, 96))
    assert (larger.size, larger.resize, larger.mean) == ((64, 96), (80, 120), prepare.mean)
    assert resized(prepare, models.SIZE) is prepare


def test_nothing_is_written_that_does_not_answer_as_pytorch(export, tmp_path, monkeypatch):
    """The new file answers for another model; what was there before stays."""
    _, result = export("timm, class token")
    answers = exporting.run_file(result.path)
    monkeypatch.setattr(exporting, "write_graph", lambda *args: None)
    monkeypatch.setattr(exporting, "run_file", lambda path: answers)
    other = models.loaded(models.far_from_zero(models.timm_vit()))
    with torch.no_grad():
        other.module.blocks[1].attn.proj.weight.mul_(1.01)
    (tmp_path / "m.onnx").write_text("what was there before")
    with pytest.raises(
        vitcam.export.ExportError, match="doesn't answer as PyTorch does: its heatmaps differ by"
    ):
        export_onnx(other, tmp_path / "m.onnx", "agcam", "top5")
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "what was there before"
