"""What surrounds the graph: here the model that would be traced answers itself, which is faster."""

from __future__ import annotations

import json

import exported_models as models
import pytest
import timm
import torch

import vitcam
from vitcam.errors import MethodError, ModelError
from vitcam.export import export_onnx, exporting
from vitcam.models.promptable import ImageTower
from vitcam.photos import photo_path


@pytest.fixture
def seen(monkeypatch):
    """Exports without a graph; the images of every run are appended to the list."""
    batches = []

    def write(model, images, file, description):
        file.write_bytes(b"graph")

        def run(images):
            batches.append(images)
            with torch.enable_grad():
                return tuple(answer.detach() for answer in model(images))

        monkeypatch.setattr(exporting, "run_file", lambda file: run)

    monkeypatch.setattr(exporting, "_write", write)
    return batches


def test_verified_on_a_photograph_alone_and_among_noise(seen, tmp_path):
    model = models.loaded(models.far_from_zero(models.timm_vit()))
    export_onnx(model, tmp_path / "m.onnx")
    one, four = seen
    assert (one.shape, four.shape) == ((1, 3, *models.SIZE), (4, 3, *models.SIZE))
    photograph = model.preprocess(photo_path("cat"))
    assert torch.equal(one, photograph)
    assert torch.equal(four[:1], photograph)
    assert all(image.std() > 0.9 for image in four[1:])


def test_verification_can_be_left_out(seen, tmp_path):
    model = models.far_from_zero(models.timm_vit())
    exported = export_onnx(model, tmp_path / "m.onnx", image_size=models.SIZE, verify=False)
    assert exported.agreement is None
    assert seen == []


def test_written_even_where_gradients_are_switched_off(seen, tmp_path):
    model = models.loaded(models.far_from_zero(models.timm_vit()))
    with torch.inference_mode():
        assert export_onnx(model, tmp_path / "m.onnx").agreement.heatmaps < 1e-5


def test_another_size_where_the_model_takes_it(seen, tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", depth=2, dynamic_img_size=True, num_classes=7)
    model = models.loaded(models.far_from_zero(model))
    description = export_onnx(model, tmp_path / "m.onnx", image_size=(64, 96)).description
    assert (description["grid"], description["input"]) == ([4, 6], {"height": 64, "width": 96})
    assert (description["preprocessing"]["size"], description["preprocessing"]["resize"]) == (
        [64, 96],
        [80, 120],
    )
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8")) == description


def test_a_clip_is_exported_with_its_texts(seen, tmp_path):
    features = timm.create_model(
        "vit_tiny_patch16_224", img_size=models.SIZE, depth=2, embed_dim=24, num_heads=3, num_classes=0
    )
    tower = ImageTower(models.far_from_zero(features), torch.tensor(20.0))
    clip = vitcam.LoadedModel(
        tower,
        models.loaded(tower).preprocessing,
        text_encoder=lambda texts: torch.eye(24)[: len(texts)],
        spec="open_clip:tiny",
    )
    with pytest.raises(
        ModelError, match=r"open_clip:tiny has no classes of its own. Say which texts they are: --text"
    ):
        export_onnx(clip, tmp_path / "m.onnx")
    exported = export_onnx(clip.with_prompts(["a cat", "a cup"]), tmp_path / "m.onnx", classes="all")
    assert exported.description["class_names"] == ["a cat", "a cup"]
    assert exported.agreement.heatmaps < 1e-5


def test_an_option_s_value_is_checked_before_anything_is_written(seen, tmp_path):
    model = models.loaded(models.far_from_zero(models.timm_vit()))
    with pytest.raises(MethodError, match=r"agcam can't use layers='last:9'; .* from 1 to 2"):
        export_onnx(model, tmp_path / "m.onnx", "agcam(layers='last:9')")
    assert not list(tmp_path.iterdir())


def test_the_description_has_the_method_with_its_options(seen, tmp_path):
    model = models.loaded(models.far_from_zero(models.timm_vit()))
    exported = export_onnx(model, tmp_path / "m.onnx", "agcam( layers = 'last:1', positive=True )")
    assert exported.description["method"] == "agcam(layers='last:1')"
    assert exported.agreement.heatmaps < 1e-5


def test_a_rotary_embedding_is_cut_to_the_class_token(seen, tmp_path):
    eva = timm.create_model(
        "eva02_tiny_patch14_224", depth=2, img_size=56, num_classes=7, global_pool="token"
    )
    model = models.far_from_zero(eva)
    assert export_onnx(model, tmp_path / "m.onnx", image_size=(56, 56)).agreement.heatmaps < 1e-4
