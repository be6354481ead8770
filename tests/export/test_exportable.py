"""Which models, methods and classes can be exported, and what is said about the others."""

from __future__ import annotations

import sys

import exported_models as models
import pytest
import timm
import torch

import vitcam
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError, ModelError, TargetError
from vitcam.export import ExportError, export_onnx
from vitcam.export.explaining_model import ExplainingModel
from vitcam.export.exportable import choice_of, exportable_method, structure
from vitcam.recording import preserved

UNSUITABLE = {
    "timm siglip": "its head reads the tokens through an attention of its own",
    "timm pe": "its head reads the tokens through an attention of its own",
    "timm cait": r"the tokens that go into its first block \(blocks_token_only.0\) weren't found",
    "timm flexivit": r"a part of the image only \(top, left, bottom, right: 0, 0, 112, 112 of 120×120 pixels\)",
    "hf clip vision": "there are no logits",
    "hf siglip vision": "there are no logits",
}
# Of a family's large and small models the small one is enough.
SUITABLE = [name for name in FAMILIES if name not in {*UNSUITABLE, "torchvision vit, 12 layers"}]


def explaining(name, classes, method="agcam"):
    model = model_of(name)
    with preserved(model):
        known = structure(model, images_of(name, 1), classes)
        found, options = exportable_method(method)
        return ExplainingModel(model, known, found.name, options, choice_of(classes))(images_of(name, 2))


@pytest.mark.parametrize("name", SUITABLE)
def test_families_answer_as_explain_does(name):
    logits, chosen, heatmaps = explaining(name, "top5")
    expected = vitcam.explain(model_of(name), images_of(name, 2), targets="top5")
    assert torch.equal(chosen, expected.targets)
    torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=1e-4)
    highest = float(expected.heatmaps.max())
    torch.testing.assert_close(heatmaps, expected.heatmaps, atol=1e-4 * highest, rtol=0)


@pytest.mark.parametrize("method", ["rollout", "attention"])
@pytest.mark.parametrize("name", ["hf vit", "hf beit"])
def test_methods_without_gradients_answer_as_explain_does(name, method):
    _, _, heatmaps = explaining(name, "all", method)
    expected = vitcam.explain(model_of(name), images_of(name, 2), method=method)
    torch.testing.assert_close(heatmaps, expected.heatmaps.expand_as(heatmaps))


@pytest.mark.parametrize("name", ["timm vit", "timm gap"])
@pytest.mark.parametrize(
    "method",
    [
        "agcam(layers='last:2')",
        "agcam(layers=[0, -1], positive=False)",
        "agcam(normalization='softmax')",
        "agcam(normalization='none', positive=False)",
        "tempercam",
        "tempercam(layers='first:3', power=1, positive=False)",
        "rollout(head_fusion='max')",
        "rollout(head_fusion='min')",
        "attention(layer=0)",
    ],
)
def test_options_answer_as_explain_does(name, method):
    _, _, heatmaps = explaining(name, "top5", method)
    expected = vitcam.explain(model_of(name), images_of(name, 2), method=method, targets="top5").heatmaps
    torch.testing.assert_close(heatmaps, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("name", UNSUITABLE)
def test_other_families_are_refused_with_the_reason(name):
    with pytest.raises(ModelError, match=UNSUITABLE[name]):
        explaining(name, "top1")


def test_the_mean_of_what_other_tokens_say_is_gone_back_through_only_where_it_is_read():
    """A class-token head takes one row of each layer; a head that averages takes them all."""
    for name, rows in (
        ("timm vit", 1),
        ("timm dinov2 registers", 5),
        ("timm gap", FAMILIES["timm gap"].grid.tokens),
    ):
        known = structure(model_of(name), images_of(name, 1), "top1")
        assert ExplainingModel(model_of(name), known, "agcam", {}, choice_of("top1")).rows == rows


def refuse(error, match, model=None, path="m.onnx", **options):
    with pytest.raises(error, match=match):
        export_onnx(model or models.timm_vit(), path, **{"image_size": models.SIZE, **options})


def test_what_is_asked_for_is_checked_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = (
        r"What can: agcam \(options: layers, normalization, positive\); "
        r"tempercam \(options: layers, power, positive\); "
        r"attention \(options: layer\); "
        r"rollout \(options: head_fusion\)"
    )
    refuse(MethodError, f"'lrp' can't be exported. {known}", method="lrp")
    refuse(
        MethodError,
        rf"'agcam\(skip_path=False\)' can't be exported. {known}",
        method="agcam(skip_path=False)",
    )
    refuse(MethodError, "there is no method 'agcan'. Did you mean 'agcam'", method="agcan")
    refuse(
        TargetError,
        "asks for 5 classes; this model has 4",
        models.torchvision_vit(),
        classes="top5",
        image_size=(32, 32),
    )
    refuse(ExportError, "ends in .onnx; got model.pt", path="model.pt")
    refuse(ModelError, r"pass image_size=\(height, width\)", image_size=None)
    refuse(ModelError, "has weights in bfloat16: model.float()", models.timm_vit().bfloat16())
    refuse(ModelError, "itself failed on images of shape", image_size=(40, 40))
    assert not list(tmp_path.iterdir())


def test_classes_are_one_of_three():
    with pytest.raises(TargetError, match="classes must be one of top1, top5, all; got 'top3'"):
        choice_of("top3")


def test_hierarchical_models_are_refused(tmp_path):
    swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), embed_dim=24, num_classes=5)
    refuse(
        ModelError,
        "SwinTransformer can't be exported: its attention layers see different numbers of tokens",
        swin,
        tmp_path / "m.onnx",
        image_size=(224, 224),
    )
    assert not list(tmp_path.iterdir())


def test_all_classes_at_once_must_fit_into_memory(tmp_path):
    model = timm.create_model(
        "vit_tiny_patch16_224", depth=2, class_token=False, global_pool="avg", num_classes=21841
    )
    refuse(
        TargetError,
        "all 21841 classes at once would take 3 GiB per image and head",
        model,
        tmp_path / "m.onnx",
        classes="all",
        image_size=(224, 224),
    )


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_packages_are_named(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    refuse(
        ExportError,
        rf"exporting needs {package}, which isn't installed: pip install 'vitcam\[export\]'",
        path=tmp_path / "m.onnx",
    )


def test_files_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    refuse(ExportError, "m.onnx: .*/file is a file, not a folder", path=tmp_path / "file" / "m.onnx")
    (tmp_path / "folder.onnx").mkdir()
    refuse(ExportError, "can't write .*folder.onnx: it is a folder", path=tmp_path / "folder.onnx")


def test_models_that_look_at_values_are_refused(tmp_path):
    class Chooses(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vit = models.timm_vit()

        def forward(self, images):
            logits = self.vit(images)
            return logits if logits.sum() < 1e9 else -logits

    refuse(
        ExportError,
        "Chooses can't be turned into an ONNX graph for any batch size: ",
        Chooses(),
        tmp_path / "m.onnx",
    )
    assert not list(tmp_path.iterdir())
