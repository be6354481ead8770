"""Models for pictures of another size than they were made for, and models that take any."""

import jaxtyping
import pytest
import timm
import torch
import transformers
from PIL import Image

import vitcam
from small_models import hugging_face, perturbed, timm_vit
from vitcam.errors import ImageError, ModelError

PREPARE = vitcam.Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3, resize_mode="shortest", resize=(80, 80))


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return perturbed(timm_vit(depth=2))


def photo(width=150, height=120):
    return Image.effect_noise((width, height), 80).convert("RGB")


def test_timms_model_at_another_size_is_the_one_that_takes_any(vit):
    """Against timm's own way for a model of the same weights that interpolates at each call."""
    model = vitcam.LoadedModel(vit, PREPARE).with_size((96, 80))
    dynamic = timm_vit(depth=2, dynamic_img_size=True).eval()
    dynamic.load_state_dict(vit.state_dict())
    shown = photo()
    e, picture = vitcam.explain(model, shown, targets=1), model.preprocess(shown)
    assert (e.heatmaps.shape[2:], e.image_size, model.preprocessing.resize) == ((6, 5), (96, 80), (120, 100))
    with torch.no_grad():
        assert torch.allclose(model.module(picture), dynamic(picture), atol=1e-5)
    assert torch.allclose(
        e.heatmaps, vitcam.explain(dynamic, picture, targets=1).heatmaps, rtol=1e-3, atol=1e-6
    )
    assert vit.patch_embed.img_size == (64, 64)  # the model itself is left as it was
    assert vitcam.LoadedModel(dynamic, PREPARE).with_size(96).module is dynamic


def test_a_changed_patch_is_found_where_it_is_at_any_size():
    """A model that takes any size: the evidence of a patch is on its place in pictures of several shapes."""
    for make in (
        lambda: timm_vit(depth=1, dynamic_img_size=True),
        lambda: timm.create_model(
            "naflexvit_base_patch16_gap", depth=1, embed_dim=48, num_heads=3, num_classes=5
        ),
    ):
        torch.manual_seed(0)
        model = perturbed(make())
        for rows, columns in ((4, 4), (6, 5), (3, 7)):
            given = torch.zeros(1, 3, 16 * rows, 16 * columns)
            given[:, :, 32:48, 48:64] = 3
            e = vitcam.explain(model, given, "occlusion", targets=1, size=1, stride=1)
            assert e.heatmaps.shape[2:] == (rows, columns)
            found = e.heatmaps[0, 0].abs()
            assert tuple(torch.unravel_index(found.argmax(), found.shape)) == (2, 3)
            assert vitcam.explain(model, given, targets=1).heatmaps.shape[2:] == (rows, columns)


def test_what_hugging_face_needs_for_other_sizes_is_said():
    torch.manual_seed(0)
    model = vitcam.LoadedModel(
        perturbed(hugging_face("ViTForImageClassification", "ViTConfig", num_labels=3)), PREPARE
    ).with_size((96, 80))
    with pytest.raises(ModelError, match=r"or inputs=\{'interpolate_pos_encoding': True\}, with which"):
        vitcam.explain(model, photo())
    e = vitcam.explain(model, photo(), inputs={"interpolate_pos_encoding": True})
    assert e.heatmaps.shape[2:] == (6, 5)


def test_sizes_that_are_none_are_refused(vit, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would refuse them before
    model = vitcam.LoadedModel(vit, PREPARE)
    for size in (0, (64,), (64, -16), (64.0, 64), "64"):
        with pytest.raises(ModelError, match="a size is"):
            model.with_size(size)


def test_pictures_that_are_patches_already_are_refused():
    model = timm.create_model("naflexvit_base_patch16_gap", depth=1, embed_dim=48, num_heads=3, num_classes=5)
    patches = {
        "patches": torch.zeros(1, 4, 768),
        "patch_coord": torch.zeros(1, 4, 2, dtype=torch.long),
        "patch_valid": torch.ones(1, 4, dtype=torch.bool),
    }
    config = transformers.Siglip2VisionConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_patches=16
    )
    siglip2 = transformers.Siglip2VisionModel(config).eval()
    with pytest.raises(
        ImageError, match="'patch_coord' says where patches of a picture lie that is cut up already"
    ):
        vitcam.explain(model.eval(), patches)
    with pytest.raises(ImageError, match="'patch_coord' says where"):
        vitcam.explain(model.eval(), patches.pop("patches"), inputs=patches)
    given = {"pixel_values": torch.zeros(1, 16, 768), "spatial_shapes": torch.tensor([[4, 4]])}
    with pytest.raises(ImageError, match="'spatial_shapes' says where"):
        vitcam.explain(siglip2, given, targets=vitcam.value())
