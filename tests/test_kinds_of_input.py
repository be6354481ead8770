"""Clips, sounds and volumes: right places, batches, pictures, errors."""

import pytest
import timm
import torch
import transformers

import vitcam
from input_models import Volumes
from test_figure import drawn
from vitcam.errors import ImageError, VitcamError

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 3,
}


def videomae():
    config = transformers.VideoMAEConfig(**SMALL, image_size=32, patch_size=8, num_frames=4, tubelet_size=2)
    return transformers.VideoMAEForVideoClassification(config)


def vivit():
    config = transformers.VivitConfig(**SMALL, image_size=32, num_frames=4, tubelet_size=[2, 8, 8])
    return transformers.VivitForVideoClassification(config)


def timesformer():
    config = transformers.TimesformerConfig(**SMALL, image_size=32, patch_size=8, num_frames=4)
    return transformers.TimesformerForVideoClassification(config)


def ast(bands=64, times=128):
    config = transformers.ASTConfig(
        **SMALL, patch_size=16, frequency_stride=10, time_stride=10, max_length=times, num_mel_bins=bands
    )
    return transformers.ASTForAudioClassification(config)


class Spectrograms(torch.nn.Module):
    """timm's ViT on spectrograms (batch, frames, mel bands), as people wrap it."""

    main_input_name = "input_values"

    def __init__(self):
        super().__init__()
        sizes = {"img_size": (32, 64), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
        self.vit = timm.create_model("vit_tiny_patch16_224", in_chans=1, num_classes=3, **sizes)

    def forward(self, input_values):
        return self.vit(input_values.transpose(1, 2).unsqueeze(1))


def monai(proj_type="conv"):
    return Volumes((16, 24, 24), 8, 24, 32, classes=3, proj_type=proj_type)


# Name → model, what it takes, kind, grid, the method tried, and a part of the input with the patch that it is.
CLIP = (2, 4, 3, 32, 32)
IN_CLIP = (slice(None), slice(2, 4), slice(None), slice(8, 16), slice(24, 32))
IN_VOLUME = (slice(None), slice(None), slice(8, 16), slice(0, 8), slice(16, 24))
CASES = {
    "videomae": (videomae, CLIP, "video", (2, 4, 4), "agcam", IN_CLIP, (1, 1, 3)),
    "vivit": (vivit, CLIP, "video", (2, 4, 4), "agcam", IN_CLIP, (1, 1, 3)),
    "timesformer": (
        timesformer,
        CLIP,
        "video",
        (4, 4, 4),
        "captum:InputXGradient",
        (slice(None), slice(2, 3), slice(None), slice(8, 16), slice(24, 32)),
        (2, 1, 3),
    ),
    "ast": (
        ast,
        (2, 128, 64),
        "sound",
        (5, 12),
        "agcam",
        (slice(None), slice(56, 60), slice(36, 40)),
        (3, 5),
    ),
    "timm": (
        Spectrograms,
        (2, 64, 32),
        "sound",
        (4, 8),
        "agcam",
        (slice(None), slice(40, 48), slice(16, 24)),
        (2, 5),
    ),
    "monai": (monai, (2, 1, 16, 24, 24), "volume", (2, 3, 3), "agcam", IN_VOLUME, (1, 0, 2)),
    "monai-linear": (
        lambda: monai("perceptron"),
        (2, 1, 16, 24, 24),
        "volume",
        (2, 3, 3),
        "agcam",
        IN_VOLUME,
        (1, 0, 2),
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    make, shape, *rest = CASES[request.param]
    torch.manual_seed(0)
    return make().eval(), torch.randn(shape), *rest


def test_maps_lie_on_the_axes_of_their_kind(case, tmp_path):
    model, given, kind, grid, method, *_ = case
    if method.startswith("captum"):
        pytest.importorskip("captum")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    e = vitcam.explain(model, given, method, targets=1)
    assert (e.kind, tuple(e.heatmaps.shape)) == (kind, (2, 1, *grid))
    alone = torch.cat([vitcam.explain(model, each[None], method, targets=1).heatmaps for each in given])
    assert torch.allclose(e.heatmaps, alone, atol=1e-5 * float(alone.abs().max()))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert e.laid().shape[-2:] == e.photographs[0].size[::-1]
    assert e.overlay().size == e.photographs[0].size
    assert vitcam.figure(e).width > 200
    e.save(tmp_path)
    again = vitcam.load(tmp_path)
    assert (again.kind, again.image_size) == (kind, e.image_size)
    assert torch.equal(again.laid(), e.laid())
    with pytest.raises(VitcamError, match="boxes are drawn around areas of pictures"):
        e.boxes()


def test_a_changed_place_is_the_place_that_occlusion_finds(case):
    """The patch whose removal undoes a change is where the change is, by the model's own forward as the oracle."""
    model, given, _kind, grid, _method, part, place = case
    given = torch.zeros_like(given[:1])
    given[part] = 3 * torch.randn(given[part].shape, generator=torch.Generator().manual_seed(0))

    def score(of):
        with torch.no_grad():
            output = model(of)
        return float(getattr(output, "logits", output)[0, 1])

    e = vitcam.explain(model, given, "occlusion", targets=1, size=1, stride=1)
    found = e.heatmaps[0, 0].abs()
    assert tuple(torch.unravel_index(found.argmax(), grid)) == place
    if len(grid) == 3:  # patches side by side: without the only one that isn't zero, all is zero
        fall = score(given) - score(torch.zeros_like(given))
        assert float(e.heatmaps[0, 0][place]) == pytest.approx(fall, abs=1e-4)
        assert int((found > 1e-4).sum()) == 1


@pytest.mark.parametrize(("bands", "times"), [(64, 128), (36, 512)])
def test_overlapping_patches_that_no_border_cuts_are_where_their_middles_are(bands, times):
    """Of patches of 16 every 10 the first has its middle at 8; cells are 10 wide, and a rest is covered by none."""
    found = vitcam.inspect(ast(bands, times).eval(), torch.randn(1, times, bands))
    rows, columns = ((side - 16) // 10 + 1 for side in (bands, times))
    assert found.grid.shape == (rows, columns)
    assert found.grid.region == pytest.approx((3, 3, 3 + 10 * rows, 3 + 10 * columns), abs=1)


def test_what_is_no_such_kind_is_an_error():
    model = vivit().eval()
    with pytest.raises(ImageError, match="there is no kind of input 'film'; there are picture, video"):
        vitcam.explain(model, torch.randn(CLIP), kind="film")
    with pytest.raises(ImageError, match="a sound must be \\(batch, time, bands\\); got"):
        vitcam.explain(model, torch.randn(CLIP), kind="sound")
    clip = torch.randn(CLIP)
    clip[1, 0, 0, 0, 0] = torch.nan
    with pytest.raises(ImageError, match="image 1 of the batch holds NaN"):
        vitcam.explain(model, clip)


@pytest.mark.parametrize(("kind", "shape"), [("Wav2Vec2", (1, 4000)), ("Whisper", (1, 80, 64))])
def test_models_of_bare_waves_are_refused_with_the_reason(kind, shape):
    if kind == "Wav2Vec2":
        config = transformers.Wav2Vec2Config(**SMALL, conv_dim=(8,) * 7)
        model = transformers.Wav2Vec2ForSequenceClassification(config)
    else:
        sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
        config = transformers.WhisperConfig(**sizes, decoder_layers=1, vocab_size=99, pad_token_id=0)
        model = transformers.WhisperForAudioClassification(config)
    with pytest.raises(ImageError, match="along time alone, as a wave or as the features of each moment"):
        vitcam.explain(model.eval(), torch.randn(shape), targets=1)


def test_divided_attention_is_refused_with_the_reason():
    with pytest.raises(
        VitcamError, match="agcam isn't defined for TimesformerForVideoClassification: its attention"
    ):
        vitcam.explain(timesformer().eval(), torch.randn(CLIP))


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_any_number_of_channels_has_a_picture(channels):
    import timm

    model = timm.create_model(
        "vit_tiny_patch16_224", in_chans=channels, img_size=32, depth=2, num_classes=3
    ).eval()
    images = torch.randn(2, channels, 32, 32)
    e = vitcam.explain(model, images, targets=1)
    assert e.overlay().size == (32, 32)
    if channels == 13:
        chosen = vitcam.explain(model, images, targets=1, bands=(3, 2, 1))
        assert chosen.photographs[0].tobytes() == e.photographs[0].tobytes()
        other = vitcam.explain(model, images, targets=1, bands=(7, 3, 2))
        assert other.photographs[0].tobytes() != e.photographs[0].tobytes()
    with pytest.raises(ImageError, match=f"of the {channels} channels"):
        vitcam.explain(model, images, targets=1, bands=(0, 1, 99))


def test_a_figure_calls_an_input_what_it_is(monkeypatch):
    torch.manual_seed(0)
    e = vitcam.explain(videomae().eval(), torch.randn(CLIP), targets=1)
    calls = drawn(monkeypatch)
    vitcam.figure(e)
    vitcam.figure(e[0])
    assert [call["photo_label"] for call in calls] == [["video 0", "video 1"], "video"]
