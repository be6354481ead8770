"""Large pictures, cut into tiles: every map against tiles that are explained alone and stitched pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image

import vitcam
from small_models import HomemadeViT, hugging_face, perturbed
from vitcam.errors import ImageError, ModelError, TargetError, VitcamWarning
from vitcam.explaining import tiles as tiles_module
from vitcam.explaining.stitching import stitched
from vitcam.explaining.tiles import sides_of, tile_places

SIDE = 32


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    options = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 2}
    return perturbed(timm.create_model("vit_tiny_patch16_224", num_classes=5, **options))


@pytest.fixture(scope="module")
def hf():
    torch.manual_seed(0)
    sizes = {"image_size": SIDE, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2}
    return perturbed(
        hugging_face("ViTForImageClassification", "ViTConfig", num_labels=5, initializer_range=0.1, **sizes)
    )


@pytest.fixture(scope="module")
def loaded(vit):
    prepare = vitcam.Preprocessing(
        (SIDE, SIDE), (0.5,) * 3, (0.5,) * 3, resize_mode="shortest", resize=(40, 40)
    )
    return vitcam.LoadedModel(vit, prepare, class_names=("ant", "bee", "cat", "dog", "eel"))


def picture(height=50, width=70, channels=3):
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def photo(height=50, width=70):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def cut_naively(height, width, side, overlap):
    """(top, left) of all tiles: a step of side − overlap, and one at the very edge."""
    along = []
    for length in (height, width):
        starts, at = [], 0
        while at + side < length:
            starts.append(at)
            at += side - overlap
        along.append([*starts, length - side])
    return [(top, left) for top in along[0] for left in along[1]]


def stitched_naively(maps, corners, side, height, width):
    """Each pixel the mean over tiles of the patch it is in, each cell the mean over its pixels: loops alone."""
    patches = maps[0].shape[-1]
    length = side // patches
    rows, columns = -(-height // length), -(-width // length)
    sums, counts = np.zeros((rows, columns)), np.zeros((rows, columns))
    for values, (top, left) in zip(maps, corners, strict=True):
        for y in range(side):
            for x in range(side):
                cell = (top + y) // length, (left + x) // length
                sums[cell] += float(values[y // length, x // length])
                counts[cell] += 1
    return sums / counts


@pytest.mark.parametrize(
    ("name", "method"),
    [("vit", "agcam"), ("hf", "agcam"), ("hf", "gradcam"), ("vit", "captum:InputXGradient")],
)
def test_is_every_tile_explained_alone(name, method, request):
    if method.startswith("captum"):
        pytest.importorskip("captum")
    model, given, overlap = request.getfixturevalue(name), picture(), 9
    e = vitcam.explain(model, given, method, targets=[2, 4], tiles=(SIDE, overlap))
    corners = cut_naively(50, 70, SIDE, overlap)
    assert len(corners) == 6
    assert corners[-1] == (18, 38)
    alone = [
        vitcam.explain(model, given[:, :, y : y + SIDE, x : x + SIDE], method, targets=[2, 4])
        for y, x in corners
    ]
    for t in range(2):
        expected = stitched_naively([each.heatmaps[0, t] for each in alone], corners, SIDE, 50, 70)
        scale = np.abs(expected).max()
        assert np.abs(e.heatmaps[0, t].numpy() - expected).max() < 1e-5 * scale
    assert e.tiles == tuple((x, y, x + SIDE, y + SIDE) for y, x in corners)
    each_logits = torch.cat([each.logits for each in alone])
    assert torch.allclose(e.tile_logits[0], each_logits, atol=1e-5)
    assert torch.allclose(e.logits[0], each_logits.mean(dim=0), atol=1e-5)
    assert (e.targets.tolist(), e.image_size, e.region) == ([[2, 4]], (50, 70), (0.0, 0.0, 56.0, 72.0))


def test_one_tile_is_the_picture_untiled(vit):
    given = picture(SIDE, SIDE)
    whole, tiled = (
        vitcam.explain(vit, given, "gae", targets="top2", tiles=tiles) for tiles in (None, (SIDE, 4))
    )
    assert torch.equal(whole.targets, tiled.targets)
    assert torch.equal(whole.logits, tiled.logits)
    assert torch.allclose(whole.heatmaps, tiled.heatmaps, rtol=1e-6)
    assert (tiled.region, tiled.image_size) == (whole.region, whole.image_size)
    assert torch.allclose(whole.upsampled(), tiled.upsampled(), atol=1e-6)


def test_patches_that_leave_a_border_out_are_stitched_where_they_are():
    torch.manual_seed(0)
    model, given = HomemadeViT().eval(), picture(60, 36)  # patches of 8 pixels in tiles of 36: 4 are left out
    e = vitcam.explain(model, given, "gradcam", targets=1, tiles=(36, 12))
    alone = [vitcam.explain(model, given[:, :, y : y + 36], "gradcam", targets=1) for y in (0, 24)]
    assert alone[0].region == (0, 0, 32, 32)
    first, second = (each.heatmaps[0, 0] for each in alone)
    expected = torch.cat([first[:3], (first[3:] + second[:1]) / 2, second[1:]])
    assert torch.allclose(e.heatmaps[0, 0], expected, rtol=1e-5)
    assert e.region == (0, 0, 56, 32)


def test_places_between_tiles_of_which_nothing_is_known_are_said():
    maps = torch.ones(2, 1, 2, 2)
    with pytest.raises(
        ImageError, match="nothing is known of places between tiles: let them overlap by more"
    ):
        stitched(
            maps, [(0, 0, 8, 8), (8, 0, 16, 8)], (2, 2, 6, 6)
        )  # a crop: 2 of 8 pixels are left out on each side


def test_without_targets_it_is_the_class_of_the_highest_mean_logit():
    """One tile that is sure of a class wins against three that are less so of another, by mean and not by count."""
    model, given = HomemadeViT(pool="mean").eval(), torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        model.head.weight.copy_(99 * model.head.weight)
        model.head.bias.copy_(torch.tensor([-0.1, 0.1, -0.1, 0.0, -0.1]))
        model.head.bias -= model.head.weight @ model_features(model, given[:, :, :32, :32])
        given[:, :, 32:, 32:] = picture(32, 32)
        logits = torch.cat(
            [model(given[:, :, y : y + 32, x : x + 32]) for y, x in cut_naively(64, 64, 32, 0)]
        )
    votes = logits.argmax(dim=1).tolist()
    best = int(logits.mean(dim=0).argmax())
    assert votes[:3] == [1, 1, 1]
    assert best != 1
    e = vitcam.explain(model, given, "gradcam", tiles=(32, 0))
    assert e.targets.tolist() == [[best]]
    three = vitcam.explain(model, given, "gradcam", targets="top3", tiles=(32, 0))
    assert three.targets[0].tolist() == logits.mean(dim=0).topk(3).indices.tolist()


def model_features(model, images):
    head, model.head = model.head, torch.nn.Identity()
    features = model(images)[0]
    model.head = head
    return features


def test_maps_of_tiles_keep_their_scale(vit):
    """A tile of faint texture stays faint beside one of strong texture, where scaling each alone would level them."""
    given = picture(SIDE, 2 * SIDE)
    maps = [vitcam.explain(vit, half, "ixg", targets=0).heatmaps for half in given.split(SIDE, dim=3)]
    e = vitcam.explain(vit, given, "ixg", targets=0, tiles=(SIDE, 0))
    assert torch.allclose(e.heatmaps, torch.cat(maps, dim=3), rtol=1e-4, atol=1e-6)


def test_several_pictures_are_those_alone_in_batches_of_any_size(vit):
    both = torch.cat([picture(), 2 * picture().flip(3)])
    asked = {"targets": [1, 3], "versus": [0, 2], "tiles": (SIDE, 8)}
    e = vitcam.explain(vit, both, batch_size=3, **asked)
    for number, (target, other) in enumerate([(1, 0), (3, 2)]):
        alone = vitcam.explain(vit, both[number : number + 1], targets=target, versus=other, tiles=(SIDE, 8))
        assert torch.allclose(
            e[number].heatmaps, alone.heatmaps, atol=1e-5 * float(alone.heatmaps.abs().max())
        )
        assert torch.allclose(e[number].tile_logits, alone.tile_logits, atol=1e-5)
        assert e[number].versus.tolist() == [[other]]


def test_photographs_go_through_whole_and_at_their_own_resolution(loaded, tmp_path):
    large = photo()
    large.save(tmp_path / "large.png")
    e = vitcam.explain(loaded, tmp_path / "large.png", "gradcam", targets="cat", tiles=(SIDE, 8))
    as_tensor = torch.from_numpy(np.array(large)).permute(2, 0, 1)[None] / 255 * 2 - 1
    same = vitcam.explain(loaded.module, as_tensor, "gradcam", targets=2, tiles=(SIDE, 8))
    assert torch.allclose(e.heatmaps, same.heatmaps, atol=1e-5 * float(same.heatmaps.abs().max()))
    assert (e.label(), e.names, e.photographs[0].size) == ("cat", (str(tmp_path / "large.png"),), (70, 50))
    assert e.overlay().size == (70, 50)
    large = photo(70, 100)
    twice = vitcam.explain(loaded, large, "gradcam", targets="cat", tiles=(64, 0))
    assert twice.heatmaps.shape[-2:] == (5, 7)  # cells of 16 pixels: a tile of 64 is made one of 32
    places = [(x, y, x + 64, y + 64) for y in (0, 6) for x in (0, 36)]
    halves = [large.crop(place).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for place in places]
    shown = torch.stack([torch.from_numpy(np.array(half)).permute(2, 0, 1) / 255 * 2 - 1 for half in halves])
    with torch.no_grad():
        assert torch.allclose(twice.tile_logits[0], loaded.module(shown), atol=1e-4)


def test_compare_shares_tiles_and_is_drawn_and_kept(loaded, tmp_path):
    with pytest.warns(
        VitcamWarning, match="rollout knows nothing of the class, and each tile's map has a scale"
    ):
        both = vitcam.compare(loaded, photo(), ["agcam", "rollout"], tiles=(SIDE, 8))
    assert both["agcam"].tiles == both["rollout"].tiles
    assert torch.equal(both["agcam"].targets, both["rollout"].targets)
    assert both.figure(boxes=0.5).width > 300
    e = both["agcam"]
    assert repr(e) == "Explanation(agcam, 1 image × 1 target, 6 tiles, maps of 7×9)"
    e.save(tmp_path)
    again = vitcam.load(tmp_path)
    assert again.tiles == e.tiles
    assert torch.equal(again.tile_logits, e.tile_logits)
    assert torch.equal(again.upsampled(), e.upsampled())


def test_similarities_and_values_are_of_every_tile():
    torch.manual_seed(0)
    headless = HomemadeViT(head=torch.nn.Identity()).eval()
    given = picture(40, 56)
    references = torch.randn(4, 24)  # as many as there are tiles: each is still one target of the picture
    e = vitcam.explain(headless, given, "gradcam", targets=vitcam.similar_to(references), tiles=(32, 8))
    assert e.heatmaps.shape == (1, 4, 5, 7)
    assert e.tile_logits.shape == (1, 4, 4)
    with torch.no_grad():
        features = torch.cat([headless(given[:, :, y : y + 32, x : x + 32]) for y in (0, 8) for x in (0, 24)])
    expected = torch.nn.functional.cosine_similarity(features[:, None], references, dim=2)
    assert torch.allclose(e.tile_logits[0], expected, atol=1e-5)
    assert [each.value for each in e.answered[0]] == pytest.approx(expected.mean(dim=0).tolist(), abs=1e-5)
    values = vitcam.explain(headless, given, "gradcam", targets=vitcam.value(3), tiles=(32, 8))
    assert torch.allclose(values.tile_logits[0, :, 0], features[:, 3], atol=1e-5)


def test_what_is_found_anew_in_each_tile_is_refused():
    config = transformers.YolosConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=[32, 32],
        patch_size=8, num_detection_tokens=3, num_labels=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.YolosForObjectDetection(config).eval()
    with pytest.raises(TargetError, match="must be the same in all of them"):
        vitcam.explain(model, picture(40, 40), "gradcam", targets=vitcam.detections(top=1), tiles=(32, 8))


def test_tiles_that_do_not_fit_are_refused(vit):
    for tiles, message in [
        ((SIDE, SIDE), "can't overlap by 32"),
        ((SIDE, -1), "can't overlap by -1"),
        (((0, 8), 0), "tiles of 0×8 pixels"),
        ((51, 8), r"50 high and 70 wide, smaller than a tile of 51×51"),
    ]:
        with pytest.raises(ImageError, match=message):
            vitcam.explain(vit, picture(), tiles=tiles)
    for tiles in (SIDE, "ab", (SIDE, 0.5), ("32", 8), (SIDE, True), (SIDE, 8, 8), ((SIDE,), 8)):
        with pytest.raises(ImageError, match=r"expected tiles=\(size, overlap\), such as \(224, 32\)"):
            sides_of(tiles)


def test_tiles_are_of_pictures_of_one_size_and_of_the_models_shape(loaded, monkeypatch):
    audio = transformers.ASTForAudioClassification(
        transformers.ASTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
    )
    with pytest.raises(
        ImageError, match="tiles are cut from pictures, and ASTForAudioClassification takes none"
    ):
        vitcam.explain(audio, torch.zeros(1, 128, 128), tiles=(32, 8))
    with pytest.raises(ImageError, match="maps of pictures of several sizes"):
        vitcam.explain(loaded, [photo(), photo(64, 64)], targets=0, tiles=(SIDE, 8))
    with pytest.raises(
        ImageError, match=r"would be distorted. Give tiles of this shape, such as tiles=\(32, 4\)"
    ):
        vitcam.explain(loaded, photo(), tiles=((SIDE, 64), 8))
    with pytest.raises(ImageError, match=r"a bare nn\.Module takes a normalised float tensor"):
        vitcam.explain(loaded.module, photo(), tiles=(SIDE, 8))
    with pytest.raises(ImageError, match="has a row for each of 2 pictures"):
        vitcam.explain(loaded, picture().expand(2, -1, -1, -1), inputs={"x": torch.ones(2)}, tiles=(SIDE, 8))
    monkeypatch.setattr(tiles_module, "MAX_TILES", 5)
    with pytest.raises(ImageError, match="would have 2×3 tiles, more than 5"):
        vitcam.explain(loaded, photo(), tiles=(SIDE, 8))


def test_pictures_may_be_larger_than_others_and_are_drawn_smaller(loaded, tmp_path, monkeypatch):
    """The limits, made small: what is refused untiled is opened for tiles, up to a limit of its own."""
    for module in ("vitcam.explaining.tiling", "vitcam.images", "vitcam.models.preprocessing"):
        monkeypatch.setattr(f"{module}.MAX_PIXELS", 3000)
    monkeypatch.setattr("vitcam.explaining.tiling.MAX_TILED_PIXELS", 6000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # above which Pillow warns of files, and tests fail
    photo().save(tmp_path / "large.png")
    e = vitcam.explain(loaded, tmp_path / "large.png", "gradcam", targets=0, tiles=(SIDE, 8))
    assert (e.image_size, e.photographs[0].size) == ((50, 70), (35, 25))
    assert e.overlay().size == (35, 25)
    with pytest.raises(ImageError, match="more than 6,000 pixels"):
        vitcam.explain(loaded, photo(90, 90), tiles=(SIDE, 8))
    photo(90, 90).save(tmp_path / "larger.png")  # more than twice what Pillow takes
    with pytest.raises(ImageError, match="too large to be opened"):
        vitcam.explain(loaded, tmp_path / "larger.png", tiles=(SIDE, 8))


def test_errors_of_samples_are_those_of_the_mean():
    """Two tiles of independent draws: √(e₁² + e₂²) / 2 where they overlap, by hand."""
    errors = torch.tensor([[[[3.0, 3.0]]], [[[4.0, 1.0]]]])
    found, _ = stitched(errors, [(0, 0, 4, 2), (2, 0, 6, 2)], (0, 0, 2, 4), errors=True)
    assert torch.allclose(found, torch.tensor([[[3.0, 2.5, 1.0]]]))


def test_places_are_beside_one_another_and_the_last_at_the_edge():
    for height, width, side, overlap in [(9, 4, 4, 0), (33, 50, 16, 15), (8, 8, 8, 7), (17, 31, 5, 2)]:
        found = [(top, left) for left, top, _, _ in tile_places((height, width), (side, overlap))]
        assert found == cut_naively(height, width, side, overlap)


def test_prompts_are_the_classes_of_every_tile(loaded):
    class Tower(torch.nn.Module):
        def forward(self, images):
            return self.inner(images)

    from vitcam.models.promptable import ImageTower

    tower = ImageTower(HomemadeViT(head=torch.nn.Identity()), torch.tensor(10.0), None).eval()
    texts = {"a cat": 0, "a dog": 1, "a cup": 2}

    def encode(names):
        return torch.nn.functional.normalize(
            torch.randn(3, 24, generator=torch.Generator().manual_seed(1))[[texts[name] for name in names]],
            dim=1,
        )

    clip = replace(loaded, module=tower, text_encoder=encode, class_names=None)
    pictures = [photo(40, 56), photo(40, 56)]  # as many as prompts, which are no classes of one picture each
    e = vitcam.explain(clip, pictures, "gradcam", targets=["a cat", "a dog"], tiles=(SIDE, 8))
    assert [[e.label(i, t) for t in range(2)] for i in range(2)] == [["a cat", "a dog"]] * 2
    assert torch.allclose(e.heatmaps[0], e.heatmaps[1])


def test_a_blank_tile_has_nothing_and_spoils_nothing(vit):
    """Zeros, as scenes have them where there is no data: pixel × gradient is zero there, and not an error."""
    pytest.importorskip("captum")
    given = picture(SIDE, 2 * SIDE)
    given[..., SIDE:] = 0
    e = vitcam.explain(vit, given, "captum:InputXGradient", targets=1, tiles=(SIDE, 0), batch_size=1)
    alone = vitcam.explain(vit, given[..., :SIDE], "captum:InputXGradient", targets=1)
    assert torch.allclose(e.heatmaps[..., :4], alone.heatmaps, rtol=1e-4)
    assert not e.heatmaps[..., 4:].any()
    zero_head = HomemadeViT().eval()
    torch.nn.init.zeros_(zero_head.head.weight)
    with pytest.raises(ModelError):  # what is zero for another reason is still said
        vitcam.explain(zero_head, picture(SIDE, SIDE), "captum:InputXGradient", targets=1)
