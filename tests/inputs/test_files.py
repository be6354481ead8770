"""Files of clips, sounds, volumes and bands explained: the same as their tensors, with pictures and errors."""

import json

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from typer.testing import CliRunner

import vitcam
from input_files import RATE, SMALL, frames, tone, write_scan, write_sound, write_video
from input_models import Volumes
from vitcam.cli.program import program
from vitcam.errors import ImageError, ModelError, RunError, VitcamError, VitcamWarning
from vitcam.evaluation import Dataset, Sample, evaluate
from vitcam.export import export_onnx


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", frames(20))


def test_a_clip_is_explained_as_its_frames_are_by_the_models_own_processor(clip_model, clip):
    model = vitcam.load_model(f"hf:{clip_model}")
    processor = transformers.VideoMAEImageProcessor.from_pretrained(clip_model)
    numbers = [(2 * n + 1) * 20 // 16 for n in range(8)]
    read = model.preprocessing.read(clip)
    assert list(read.numbers) == numbers
    pixels = processor(list(read.frames), return_tensors="pt")["pixel_values"]
    assert torch.allclose(model.preprocess(clip), pixels, atol=1e-3)
    e = vitcam.explain(model, clip, targets="right")
    own = vitcam.explain(model.module, pixels, targets=1)
    assert (e.kind, e.label(), tuple(e.heatmaps.shape)) == ("video", "right", (1, 1, 4, 4, 4))
    assert torch.allclose(e.heatmaps, own.heatmaps, atol=1e-4 * float(own.heatmaps.abs().max()))
    assert e.overlay().size == e.photographs[0].size
    both = vitcam.explain(model, [clip, str(clip)], targets=[1, 0], batch_size=1)
    assert torch.allclose(both.heatmaps[0], e.heatmaps[0], atol=1e-5 * float(e.heatmaps.abs().max()))
    assert both.names == (str(clip), str(clip))


@pytest.mark.parametrize("kind", ["vivit", "timesformer"])
def test_other_models_of_clips_load_with_their_own_processors(tmp_path, clip, kind):
    """TimeSformer's is VideoMAE's; ViViT's scales twice, which is declared as one scale."""
    if kind == "vivit":
        config = transformers.VivitConfig(**SMALL, image_size=32, num_frames=8, tubelet_size=[2, 8, 8])
        network = transformers.VivitForVideoClassification(config)
        processor = transformers.VivitImageProcessor(
            size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}
        )
    else:
        config = transformers.TimesformerConfig(**SMALL, image_size=32, patch_size=8, num_frames=8)
        network = transformers.TimesformerForVideoClassification(config)
        processor = transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=(32, 32))
    network.save_pretrained(tmp_path / kind)
    processor.save_pretrained(tmp_path / kind)
    model = vitcam.load_model(f"hf:{tmp_path / kind}")
    read = model.preprocessing.read(clip)
    pixels = processor(list(read.frames), return_tensors="pt")["pixel_values"]
    assert model.preprocess(clip).shape == pixels.shape == (1, 8, 3, 32, 32)
    assert torch.allclose(model.preprocess(clip), pixels, atol=2e-3)
    e = vitcam.explain(model, clip, "occlusion", targets=1, size=2, stride=2)
    assert (e.kind, tuple(e.heatmaps.shape[3:])) == ("video", (4, 4))


def test_a_model_of_clips_that_says_no_number_of_frames_is_an_error(tmp_path):
    transformers.VJEPA2Config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"'vjepa2' model doesn't say how many frames its clips have\. Load"):
        vitcam.load_model(f"hf:{tmp_path}", pretrained=False)


def test_a_folder_means_its_clips(clip_model, tmp_path):
    frames(4)[0].save(tmp_path / "photo.png")
    for name in ("b.gif", "a.gif"):
        pictures = frames(6)
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
    e = vitcam.explain(vitcam.load_model(f"hf:{clip_model}"), tmp_path)
    assert [name[-5:] for name in e.names] == ["a.gif", "b.gif"]


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animation_has_the_clips_frames_with_their_maps(clip_model, clip, tmp_path, suffix):
    model = vitcam.load_model(f"hf:{clip_model}")
    e = vitcam.explain(model, clip, targets=1)
    moving = vitcam.animation(e)
    moments = moving.frames
    assert len(moments) == 8
    left = [moment.crop((0, 0, 128, 128)) for moment in moments]  # 32 pixels, enlarged by 4
    seen = model.preprocessing.read(clip)
    for moment, frame in zip(left, seen.frames, strict=True):
        view = model.preprocessing.picture.view(frame).resize((128, 128), Image.Resampling.NEAREST)
        assert moment.tobytes() == view.tobytes()
    heat = e.laid()[0, 0]
    assert moments[0].width == 2 * 128 + 8
    assert heat[:128, :128].max() <= 1
    file = tmp_path / f"moving{suffix}"
    moving.save(file, seconds=0.1)
    with Image.open(file) as written:
        assert (written.n_frames, written.size, written.info["loop"]) == (8, moments[0].size, 0)
    with pytest.raises(VitcamError, match=r"ends in \.gif or \.webp; got '\.mp4'"):
        moving.save(tmp_path / "moving.mp4")
    picture = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=2).eval()
    e = vitcam.explain(picture, torch.randn(1, 3, 32, 32))
    with pytest.raises(
        VitcamError, match="is of a video, which changes in time, and this explains a picture"
    ):
        vitcam.animation(e)


def test_a_sound_is_explained_through_the_models_feature_extractor(sound_model, tmp_path):
    model = vitcam.load_model(f"hf:{sound_model}")
    file = write_sound(tmp_path / "bird.flac", tone(0.9))
    e = vitcam.explain(model, file, targets="low")
    samples, _ = pytest.importorskip("soundfile").read(str(file), dtype="float32")
    extractor = transformers.ASTFeatureExtractor.from_pretrained(sound_model)
    values = extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_values"]
    own = vitcam.explain(model.module, values, targets=0)
    assert (e.kind, e.label(), tuple(e.heatmaps.shape)) == ("sound", "low", (1, 1, 4, 12))
    assert torch.equal(e.heatmaps, own.heatmaps)
    assert e.overlay().size == e.photographs[0].size
    with pytest.warns(VitcamWarning, match=r"lasts 3\.0 s; the model hears the first 1\.0 s of it"):
        vitcam.explain(model, write_sound(tmp_path / "long.wav", tone(3)))
    with pytest.raises(
        ImageError, match=r"lasts 0\.001 s, of which ASTFeatureExtractor makes no spectrogram"
    ):
        vitcam.explain(model, write_sound(tmp_path / "short.wav", tone(0.001)))


@pytest.mark.parametrize(("hertz", "length"), [(500, 96), (2000, 300), (6000, 96)])
def test_the_axes_of_a_spectrogram_are_measured(hertz, length):
    """A tone is loudest at its own frequency on the axis, and at its own time, also where the rest is padded."""
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=length)
    preprocessing = vitcam.LoadedModel(torch.nn.Identity(), extractor).preprocessing
    assert preprocessing.shape == (length, 32)
    assert preprocessing.hop == pytest.approx(160 / RATE, rel=0.02)
    samples = np.zeros(RATE, dtype=np.float32)
    samples[RATE // 4 : RATE // 2] = tone(0.25, hertz)[:, 0]
    found = preprocessing.features(samples)
    found = found[: RATE // 160 - 4]  # what pads it is louder than silence
    loud = found.mean(dim=0).argmax().item()
    height = loud / (preprocessing.shape[1] - 1)
    assert np.interp(height, np.linspace(0, 1, 5), preprocessing.hertz) == pytest.approx(hertz, rel=0.25)
    times = (found[:, loud] > found[:, loud].max() - 0.5).nonzero().flatten().float() * preprocessing.hop
    assert (float(times.min()), float(times.max())) == pytest.approx((0.25, 0.5), abs=0.03)


def test_a_scan_is_explained_as_monai_prepares_it(tmp_path):
    transforms = pytest.importorskip("monai.transforms")
    values = np.random.default_rng(0).normal(0, 200, (20, 30, 28)).astype(np.float32)
    file = write_scan(tmp_path / "scan.nii.gz", values, np.diag([-1.0, 1.0, 1.0, 1.0]))
    prepare = vitcam.VolumePreprocessing((16, 24, 24), window=(-175, 250), mean=0.4, std=0.3)
    model = vitcam.wrap(Volumes((16, 24, 24), 8, 24, 32).eval(), prepare, class_names=["healthy", "ill"])
    theirs = transforms.Compose(
        [
            transforms.LoadImage(image_only=True),
            transforms.EnsureChannelFirst(),
            transforms.Orientation("RAS", labels=None),
            transforms.ScaleIntensityRange(-175, 250, 0, 1, clip=True),
            transforms.Resize((16, 24, 24)),
            transforms.NormalizeIntensity(0.4, 0.3),
        ]
    )
    expected = torch.as_tensor(theirs(str(file)))[None]
    assert torch.allclose(model.preprocess(file), expected, atol=1e-5)
    e = vitcam.explain(model, file, targets="ill")
    own = vitcam.explain(model.module, expected, targets=1)
    assert (e.kind, tuple(e.heatmaps.shape)) == ("volume", (1, 1, 2, 3, 3))
    assert torch.allclose(e.heatmaps, own.heatmaps, atol=1e-4 * float(own.heatmaps.abs().max()))
    assert e.overlay().size == e.photographs[0].size
    narrow = vitcam.VolumePreprocessing((16, 24, 24), window=(5000, 6000))
    with pytest.raises(ImageError, match="nothing is left of it in the window from 5000 to 6000"):
        narrow(narrow.read(file))


def test_bands_are_explained(tmp_path):
    network = timm.create_model(
        "vit_tiny_patch16_224", in_chans=4, img_size=32, depth=2, num_classes=2
    ).eval()
    values = np.random.default_rng(0).normal(1000, 300, (4, 32, 32)).astype(np.float32)
    np.save(tmp_path / "field.npy", values)
    prepare = vitcam.BandPreprocessing((32, 32), (1000.0,) * 4, (300.0,) * 4, shown=(3, 2, 1))
    model = vitcam.wrap(network, prepare)
    e = vitcam.explain(model, tmp_path / "field.npy", targets=1)
    own = vitcam.explain(network, torch.from_numpy((values - 1000) / 300)[None], targets=1, bands=(3, 2, 1))
    assert torch.allclose(e.heatmaps, own.heatmaps, atol=1e-5 * float(own.heatmaps.abs().max()))
    assert e.kind == "picture"
    assert np.abs(np.asarray(e.photographs[0], int) - np.asarray(own.photographs[0], int)).max() <= 1
    with pytest.raises(ImageError, match="BandPreprocessing"):
        vitcam.explain(model, tmp_path / "field.npy", bands=(0, 1, 2))


def test_a_file_of_another_kind_is_an_error(clip_model, clip):
    model = vitcam.load_model(f"hf:{clip_model}")
    with pytest.raises(ImageError, match="takes files of the kind 'video', not 'sound'"):
        vitcam.explain(model, clip, kind="sound")
    pictures = vitcam.load_model("embedded:photo")
    with pytest.raises(
        ImageError, match=r"clip\.mp4 is the file of a video, and this model takes photographs"
    ):
        vitcam.explain(pictures, clip)
    with pytest.raises(
        ImageError, match="expected the path of a file, or a tensor as the model takes it; got a bytes"
    ):
        vitcam.explain(model, b"GIF89a")


def test_what_is_for_photographs_alone_says_so(clip_model, tmp_path):
    model = vitcam.load_model(f"hf:{clip_model}")
    clips = Dataset("mine", tmp_path, (), (Sample("a", None, ()),), read=list, holds="videos")
    with pytest.raises(RunError, match=r"localization needs photographs, and hf:.* takes videos"):
        evaluate("localization", clips, model, ["agcam"], tmp_path / "run")
    with pytest.raises(ModelError, match="an export is for models of photographs"):
        export_onnx(model, tmp_path / "model.onnx")


def test_clips_are_compared_with_a_clip(clip, tmp_path):
    """The similarity to itself is one; of another clip the reference goes the same way into the model."""
    config = transformers.VivitConfig(**SMALL, image_size=32, num_frames=8, tubelet_size=[2, 8, 8])
    prepare = vitcam.ClipPreprocessing(8, vitcam.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3))
    model = vitcam.LoadedModel(transformers.VivitModel(config).eval(), prepare)
    same = vitcam.explain(model, clip, targets=vitcam.similar_to(clip))
    assert same.answered[0][0].value == pytest.approx(1, abs=1e-4)
    other = write_video(tmp_path / "other.mp4", frames(20, seed=1))
    with torch.no_grad():
        one, two = (model.module(model.preprocess(file)).pooler_output for file in (clip, other))
    found = vitcam.explain(model, clip, targets=vitcam.similar_to(other)).answered[0][0].value
    assert found == pytest.approx(float(torch.cosine_similarity(one, two)), abs=1e-4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: vitcam.ClipPreprocessing(0, vitcam.Preprocessing.paper()),
            "frames and step must be 1 or more",
        ),
        (lambda: vitcam.VolumePreprocessing((8, 8, 0)), "must be three lengths"),
        (lambda: vitcam.VolumePreprocessing((8, 8, 8), window=(1, 1)), "a lower and a higher value"),
        (lambda: vitcam.VolumePreprocessing((8, 8, 8), orientation="RLS"), "three letters"),
        (lambda: vitcam.VolumePreprocessing((8, 8, 8), orientation="XYZ"), "three letters"),
        (lambda: vitcam.BandPreprocessing((8, 8), (0.0,) * 4, (1.0,) * 3), "a number for each band"),
        (
            lambda: vitcam.LoadedModel(torch.nn.Identity(), transformers.Wav2Vec2FeatureExtractor()),
            "Wav2Vec2FeatureExtractor gives no spectrogram",
        ),
        (
            lambda: vitcam.LoadedModel(torch.nn.Identity(), transformers.VideoMAEImageProcessor()),
            r"VideoMAEImageProcessor prepares clips: give LoadedModel vitcam\.ClipPreprocessing",
        ),
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_an_error(make, said):
    with pytest.raises(ModelError, match=said):
        make()


def test_a_clip_may_be_its_middle_and_too_short_for_it():
    prepare = vitcam.ClipPreprocessing(4, vitcam.Preprocessing.paper(), step=3)
    assert prepare.numbers(10) == [0, 3, 6, 9]
    assert prepare.numbers(20) == [5, 8, 11, 14]
    assert vitcam.ClipPreprocessing(8, vitcam.Preprocessing.paper()).numbers(4) == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(ImageError, match="a video of 9 frames is too short"):
        prepare.numbers(9)


def run(*arguments):
    return CliRunner().invoke(program, [str(each) for each in arguments], prog_name="vitcam")


def scanner():
    """A model of volumes, as a function of one's own gives it to the command line."""
    return vitcam.wrap(
        Volumes((16, 24, 24), 8, 24, 32).eval(),
        vitcam.VolumePreprocessing((16, 24, 24)),
        class_names=["healthy", "ill"],
    )


def test_the_command_line_explains_scans_by_a_model_of_ones_own(tmp_path):
    file = write_scan(
        tmp_path / "scan.nii.gz", np.random.default_rng(0).random((16, 24, 24)).astype(np.float32)
    )
    done = run("explain", file, "--model", "test_files:scanner", "-t", "ill", "--csv", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert np.load(tmp_path / "out" / "scan.nii.agcam.npy").shape == (1, 2, 3, 3)
    entry = json.loads((tmp_path / "out" / "manifest.json").read_text())["images"][0]
    assert (entry["file"], entry["targets"][0]["name"]) == (str(file), "ill")
    done = run("explain", file, "--model", "test_files:scanner", "--boxes", "-o", tmp_path / "out")
    assert done.exit_code != 0
    assert "boxes are drawn around areas of pictures" in " ".join(done.stderr.split())


def test_the_command_line_explains_clips_and_sounds(clip_model, sound_model, clip, tmp_path):
    out = tmp_path / "out"
    done = run("explain", clip, "--model", f"hf:{clip_model}", "-t", "right", "--animated", "webp", "-o", out)
    assert done.exit_code == 0, done.stdout + done.stderr
    entry = json.loads((out / "manifest.json").read_text())["images"][0]
    assert (entry["width"], entry["height"]) == (48, 32)
    assert np.load(out / "clip.agcam.npy").shape == (1, 4, 4, 4)
    with Image.open(out / "clip.agcam.0.webp") as written:
        assert written.n_frames == 8
    with Image.open(out / "clip.panel.png") as panel:
        assert panel.width > 600

    bird = write_sound(tmp_path / "songs.wav", tone(0.9))
    done = run("explain", bird, "--model", f"hf:{sound_model}", "-o", tmp_path / "sound")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert np.load(tmp_path / "sound" / "songs.agcam.npy").shape == (1, 4, 12)

    done = run("explain", tmp_path, "--model", f"hf:{sound_model}", "-o", tmp_path / "all")
    assert json.loads((tmp_path / "all" / "manifest.json").read_text())["images"][0]["file"] == str(bird)
    done = run("explain", bird, "--model", f"hf:{clip_model}", "-o", tmp_path / "none")
    assert done.exit_code == 1
    assert "this model takes videos" in " ".join(done.stderr.split())
    done = run("explain", bird, "--model", f"hf:{sound_model}", "--animated", "gif", "-o", tmp_path / "none")
    assert done.exit_code == 2
    assert "--animated is for clips" in " ".join(done.stderr.split())
