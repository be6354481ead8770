"""What an exported file answers: as ``vitcam.explain`` does, for any batch size."""

from __future__ import annotations

import json
from dataclasses import dataclass

import exported_models as models
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import vitcam
from vitcam.export import export_onnx
from vitcam.models.loaded import LoadedModel


@dataclass(frozen=True)
class Case:
    build: object
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
    "Hugging Face, class token and patches": Case(models.hf_dinov2, "agcam", "top5", (32, 32), "top5"),
    "rollout": Case(models.timm_vit, "rollout", "top1", models.SIZE, None),
}


@pytest.fixture(scope="module", params=CASES)
def exported(request, tmp_path_factory):
    case = CASES[request.param]
    model = models.far_from_zero(case.build())
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    result = export_onnx(model, path, case.method, case.classes, image_size=case.size)
    return case, model, result


@pytest.mark.parametrize("batch", [1, 3])
def test_answers_as_explain_does(exported, batch):
    case, model, result = exported
    images = torch.randn(batch, 3, *case.size, generator=torch.Generator().manual_seed(7))
    session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
    logits, targets, heatmaps = session.run(["logits", "targets", "heatmaps"], {"images": images.numpy()})
    of_each = [case.targets] * batch if isinstance(case.targets, list) else case.targets
    expected = vitcam.explain(model, images, method=case.method, targets=of_each)
    assert np.array_equal(targets, expected.targets.numpy())
    np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        heatmaps, expected.heatmaps.numpy(), atol=1e-5 * float(expected.heatmaps.max())
    )
    assert (logits.dtype, targets.dtype, heatmaps.dtype) == (np.float32, np.int64, np.float32)


def test_file_needs_no_operators_but_the_standard_ones(exported):
    model = onnx.load(exported[2].path)
    onnx.checker.check_model(model)
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 20)}
    assert [output.name for output in model.graph.output] == ["logits", "targets", "heatmaps"]
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    assert [bool(dimension.dim_param) for dimension in dimensions] == [True, False, False, False]


def test_agreement_is_told(exported):
    agreement = exported[2].agreement
    assert 0 <= agreement.heatmaps < 1e-4
    assert 0 <= agreement.logits < 1e-4


def test_model_is_left_as_it_was(exported):
    _, model, _ = exported
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_description_says_all_that_is_needed(tmp_path):
    model = models.loaded(models.far_from_zero(models.timm_vit()))
    result = export_onnx(model, tmp_path / "new" / "m.onnx", "attention", "top1", verify=False)
    described = json.loads((tmp_path / "new" / "m.json").read_text(encoding="utf-8"))
    assert described == result.description
    (inside,) = onnx.load(result.path).metadata_props
    assert (inside.key, json.loads(inside.value)) == ("vitcam", described)
    assert described == {
        "vitcam": vitcam.__version__,
        "spec": "timm:tiny",
        "method": "attention",
        "classes": "top1",
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
        "wordnet_ids": [[f"n0000000{index}"] for index in range(7)],
    }
    assert result.agreement is None
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["m.json", "m.onnx"]


def test_another_size_keeps_the_share_that_is_cropped():
    from vitcam.export.description import resized

    prepare = models.loaded(torch.nn.Identity()).preprocessing
    assert (resized(prepare, (64, 96)).size, resized(prepare, (64, 96)).resize) == ((64, 96), (80, 120))
    assert resized(prepare, models.SIZE) is prepare


def test_loaded_model_without_names():
    from vitcam.export import describe
    from vitcam.types import PatchGrid

    bare = LoadedModel(torch.nn.Identity(), models.loaded(torch.nn.Identity()).preprocessing)
    described = describe(bare, "unused", "agcam", "all", PatchGrid(2, 3, 1), models.SIZE)
    assert (described["spec"], described["class_names"], described["wordnet_ids"]) == ("custom", None, None)
    of_module = describe(None, "MyModel", "agcam", "all", PatchGrid(2, 3, 1), models.SIZE)
    assert (of_module["spec"], of_module["preprocessing"]) == ("MyModel", None)
