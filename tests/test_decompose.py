from unittest.mock import patch

import pytest
import timm
import torch

import vitcam
from families import FAMILIES
from vitcam.errors import MethodError
from vitcam.photos import photo_path


def vit():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=5)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model.eval()


@pytest.mark.parametrize("name", ["timm vit", "timm eva02", "timm siglip", "timm beit"])
def test_parts_add_up_to_agcam(name):
    family = FAMILIES[name]
    torch.manual_seed(0)
    model, images = family.build().eval(), torch.randn(2, 3, family.size, family.size)
    whole = vitcam.explain(model, images, targets=[[0, 1], [2, 3]])
    parts = vitcam.decompose(model, images, targets=[[0, 1], [2, 3]])
    assert parts.maps.shape[2] == family.layers
    assert (parts.maps >= 0).all()
    torch.testing.assert_close(parts.total(), whole.heatmaps, rtol=1e-4, atol=1e-7)
    assert parts.targets.equal(whole.targets)


def test_a_layer_of_parts_is_agcam_of_that_layer():
    model, images = vit(), torch.randn(1, 3, 64, 64)
    parts = vitcam.decompose(model, images, targets=1)
    keep = torch.zeros(3, 3, dtype=torch.bool)
    keep[1] = True
    alone = vitcam.explain(model, images, method="agcam(layers=[1])", targets=1).heatmaps
    torch.testing.assert_close(parts.total(keep), alone, rtol=1e-4, atol=1e-7)
    assert parts.layers == ("blocks.0.attn", "blocks.1.attn", "blocks.2.attn")


def test_a_head_of_parts_is_the_formula():
    """The last layer's class-token row, naively: the gradient of a logit with respect to the attention map."""
    model, images = vit(), torch.randn(1, 3, 64, 64)
    seen = {}

    def attention(query, key, value, **_):
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        seen["scores"], seen["maps"] = scores, scores.softmax(dim=-1)
        return seen["maps"] @ value

    with patch("torch.nn.functional.scaled_dot_product_attention", attention):
        logits = model(images)
    (gradient,) = torch.autograd.grad(logits[0, 2], seen["maps"])
    expected = (gradient.relu() * seen["scores"].sigmoid()).sum(dim=2)[0, :, 1:].detach()
    got = vitcam.decompose(model, images, targets=2).maps[0, 0, -1].flatten(1)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)


def test_shares_say_what_a_head_makes_up():
    parts = vitcam.decompose(vit(), torch.randn(2, 3, 64, 64), targets=[[0, 1], [2, 3]])
    naive = parts.maps[1, 0, 2, 1].sum() / parts.maps[1, 0].sum()
    assert parts.shares[1, 0, 2, 1].item() == pytest.approx(naive.item(), rel=1e-5)
    torch.testing.assert_close(parts.shares.sum(dim=(2, 3)), torch.ones(2, 2))


def test_no_share_where_the_map_is_empty():
    empty = vitcam.Decomposition(
        torch.zeros(1, 1, 2, 2, 3, 3), torch.zeros(1, 1, dtype=torch.long), ("a", "b")
    )
    assert empty.shares.eq(0).all()


def test_which_heads_take_part_must_fit():
    parts = vitcam.decompose(vit(), torch.randn(1, 3, 64, 64))
    with pytest.raises(MethodError, match=r"3 layers × 3 heads .* got a tensor of shape \(12, 12\)"):
        parts.total(torch.ones(12, 12, dtype=torch.bool))


def test_hierarchical_models_have_no_parts():
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=56, window_size=7, depths=(1, 1, 1, 1))
    with pytest.raises(MethodError, match=r"AGCAM isn't defined for SwinTransformer: .*hierarchical"):
        vitcam.decompose(model.eval(), torch.randn(1, 3, 56, 56))


def test_a_photograph_and_a_class_name():
    model = vitcam.load_model("embedded:photo")
    parts = vitcam.decompose(model, photo_path("cat"), targets="cat")
    whole = vitcam.explain(model, photo_path("cat"), targets="cat")
    torch.testing.assert_close(parts.total(), whole.heatmaps, rtol=1e-4, atol=1e-6)
    with torch.inference_mode():
        again = vitcam.decompose(model, photo_path("cat"), targets="cat")
    assert again.maps.equal(parts.maps)
