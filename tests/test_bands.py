"""What each band of an input counts: exact for linear models, and drawn."""

import numpy as np
import pytest
import timm
import torch

import vitcam
from small_models import perturbed
from vitcam.errors import VitcamError
from vitcam.methods import METHODS, Banded, Bands
from vitcam.render.bars import bars

GRADIENTS = [
    "Saliency",
    "InputXGradient",
    "SmoothGrad(n_samples=2)",
    "IntegratedGradients(n_steps=3)",
    "GradientShap(n_samples=5)",
]


class Linear(torch.nn.Module):
    """One linear map of all values to two classes, behind attention whose output counts nothing."""

    def __init__(self, channels):
        super().__init__()
        self.vit = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, in_chans=channels, depth=1, embed_dim=24, num_classes=2
        )
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.nn.Parameter(torch.randn(2, channels, 32, 32, generator=generator))

    def forward(self, images):
        return torch.einsum("bchw,kchw->bk", images, self.weights) + 0 * self.vit(images)


def given(channels, batch=2, side=32):
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [4, 13])
@pytest.mark.parametrize("name", GRADIENTS)
def test_of_a_linear_model_it_is_its_weights_band_by_band(channels, name):
    pytest.importorskip("captum")
    model, images = Linear(channels).eval(), given(channels)
    e = vitcam.explain(model, images, f"captum:{name}", targets=[[0, 1]] * 2)
    weights = model.weights.detach()[None].expand(2, -1, -1, -1, -1)
    magnitudes = name in ("Saliency", "SmoothGrad(n_samples=2)")
    exact = weights.abs() if magnitudes else weights * images[:, None]
    if name.startswith("GradientShap"):  # a linear model has the same gradient everywhere
        assert torch.allclose(e.bands.sum(dim=2), exact.sum(dim=(2, 3, 4)), rtol=1e-3, atol=1e-3)
    assert torch.allclose(e.bands, exact.sum(dim=(3, 4)), rtol=1e-3, atol=1e-3)
    shares = exact.abs().sum(dim=(3, 4))
    assert torch.allclose(e.band_shares, shares / shares.sum(dim=2, keepdim=True), rtol=1e-3)


def vit(channels, **options):
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 2, "depth": 2, "num_classes": 3}
    return perturbed(timm.create_model("vit_tiny_patch16_224", in_chans=channels, **sizes, **options))


@pytest.mark.parametrize("rules", ["plain", "libra"])
def test_ixg_says_what_bands_bring_to_its_map(rules):
    """Bands, and what the bias and the positions bring, are the map: each by a hook on the patch embedding."""
    model, images = vit(4), given(4)
    e = vitcam.explain(model, images, "ixg", targets=1, rules=rules)
    without = {name: value.clone() for name, value in model.state_dict().items()}
    tokens = []
    handle = model.patch_embed.register_forward_hook(
        lambda module, args, output: tokens.append(output.detach())
    )
    with torch.no_grad():
        model(images)
        for band in range(4):
            model(images * torch.eye(4)[band][:, None, None])
        model(torch.zeros_like(images))
    handle.remove()
    whole, *alone, bias = tokens
    assert torch.allclose(whole - bias, sum(each - bias for each in alone), atol=1e-4)
    # gradients at the tokens: what the map says of a change of them by a band, since each is linear in its tokens
    found = []
    entering = []
    hook = model.blocks[0].register_forward_pre_hook(lambda module, args: entering.append(args[0].detach()))
    with torch.no_grad():
        model(images)
    hook.remove()
    if rules == "plain":
        leaf = entering[0].requires_grad_()
        (gradient,) = torch.autograd.grad(model.head(model.norm(model.blocks(leaf))[:, 0])[:, 1].sum(), leaf)
        found = [((each - bias) * gradient[:, 1:]).sum(dim=(1, 2)) for each in alone]
        assert torch.allclose(e.bands[:, 0], torch.stack(found, dim=1), rtol=1e-3, atol=1e-4)
        rest = ((bias + model.pos_embed[:, 1:]) * gradient[:, 1:]).sum(dim=(1, 2))
        assert torch.allclose(
            e.bands.sum(dim=2)[:, 0] + rest, e.heatmaps.sum(dim=(2, 3))[:, 0], rtol=1e-3, atol=1e-4
        )
    assert all(torch.equal(value, without[name]) for name, value in model.state_dict().items())
    assert vitcam.explain(model, images, "ixg", targets=1, rules="libra", layer=1).bands is None
    assert torch.allclose(e.band_shares.sum(dim=2), torch.ones(2, 1))


def test_libra_bands_are_complete_where_nothing_else_is():
    """Without biases, positions and a class token all that LibraGrad attributes comes from the bands."""
    model, images = vit(4, pos_embed="none", class_token=False, global_pool="avg", qkv_bias=False), given(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    e = vitcam.explain(model, images, "ixg", targets=1, rules="libra")
    assert torch.allclose(e.bands.sum(dim=2)[:, 0], e.logits[:, 1], rtol=1e-3, atol=1e-4)


def test_integrated_gradients_add_up_over_bands_and_a_batch_is_its_images():
    pytest.importorskip("captum")
    model, images = vit(13), given(13)
    e = vitcam.explain(model, images, "captum:IntegratedGradients", targets=[0, 2], n_steps=60)
    with torch.no_grad():
        rise = model(images) - model(torch.zeros_like(images))
    expected = torch.stack([rise[0, 0], rise[1, 2]])
    assert torch.allclose(e.bands.sum(dim=2)[:, 0], expected, rtol=0.02, atol=0.02)
    for method in ("captum:InputXGradient", "ixg", "attnlrp"):
        both = vitcam.explain(model, images, method, targets=[0, 2])
        for number, target in enumerate([0, 2]):
            alone = vitcam.explain(model, images[number : number + 1], method, targets=target)
            assert torch.allclose(alone.bands, both[number].bands, rtol=1e-3, atol=1e-4)


def test_attnlrp_adds_its_map_up_by_band():
    model, images = vit(4), given(4)
    e = vitcam.explain(model, images, "attnlrp", targets=1)
    assert torch.allclose(e.bands.sum(dim=2), e.heatmaps.sum(dim=(2, 3)), rtol=1e-3, atol=1e-4)


def test_methods_that_do_not_tell_say_so():
    model, images = vit(4), given(4)
    for method in ("agcam", "occlusion"):
        with pytest.raises(VitcamError, match=f"{method} doesn't tell what bands count"):
            vitcam.explain(model, images, method, targets=0).band_shares  # noqa: B018
    assert vitcam.explain(vit(3), given(3), "ixg", targets=0).bands is None  # colours cost no pass


def test_of_tiles_they_are_the_means_and_they_are_kept(tmp_path):
    model, images = vit(4), given(4, batch=1, side=64)
    e = vitcam.explain(model, images, "ixg", targets=1, tiles=(32, 0))
    quarters = torch.cat([half for row in images.split(32, dim=2) for half in row.split(32, dim=3)])
    alone = vitcam.explain(model, quarters, "ixg", targets=1)
    assert torch.allclose(e.bands, alone.bands.mean(dim=0, keepdim=True), rtol=1e-3, atol=1e-4)
    assert torch.allclose(e.band_sizes, alone.band_sizes.mean(dim=0, keepdim=True), rtol=1e-3)
    e.save(tmp_path)
    assert torch.equal(vitcam.load(tmp_path).bands, e.bands)


def test_they_are_drawn_beside_maps_of_other_bands_than_colours():
    model, images = vit(4), given(4, batch=1)
    e = vitcam.explain(model, images, "ixg", targets="top2")
    drawn, plain = (vitcam.figure(e, bands=bands) for bands in (None, False))
    assert drawn.height == plain.height
    assert drawn.width > plain.width + 2 * 150
    both = {"one": e, "two": vitcam.explain(model, images, "agcam", targets="top2")}
    assert vitcam.figure(both).width < vitcam.figure({"one": e, "two": e}).width


def test_bars_are_as_long_as_their_shares():
    picture = np.asarray(bars([("a", 0.6), ("b", 0.3), ("c", 0.1)], width=300, height=90, em=12))
    filled = (picture == (92, 84, 160)).all(axis=2)
    lengths = [int(filled[round(row)].sum()) for row in (12, 36, 60)]
    assert lengths[1] == pytest.approx(lengths[0] / 2, abs=2)
    assert lengths[2] == pytest.approx(lengths[0] / 6, abs=2)
    few = bars([(str(n), 0.01 * n) for n in range(100)], width=300, height=60, em=12)
    assert few.size == (300, 60)


def test_bands_of_others_are_checked():
    def method(recording, wrong=False):
        maps = torch.zeros(*recording.targets.shape, recording.layout.grid.tokens)
        bands = torch.ones(*recording.targets.shape, 5)
        return Banded(maps, Bands(bands, bands))

    from dataclasses import replace

    METHODS["banded"] = replace(METHODS["random"], compute=method, called="banded")
    try:
        with pytest.raises(VitcamError, match=r"images, targets, bands\), here \(2, 1, 4\)"):
            vitcam.explain(vit(4), given(4), "banded", targets=0)
    finally:
        del METHODS["banded"]
