"""Folders of clips, sounds, volumes and pictures of many bands evaluated: the numbers of curves called by hand."""

import io
import json

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import input_models
import vitcam
from input_files import frames, tone, write_sound
from vitcam.cli.program import program
from vitcam.errors import DatasetError, ModelError, RunError
from vitcam.evaluation import Dataset, Sample, evaluate, open_dataset, perturbation_curves
from vitcam.evaluation.datasets import DatasetClass
from vitcam.evaluation.measures import MEASURES
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.evaluation.opening import opened
from vitcam.evaluation.store import RunFolder
from vitcam.report import read_runs, report_page, score_tables

STEPS = 3
BROKEN = "left/broken"


def write_clip(path, seed):
    """Of a length of its own."""
    pictures = frames(5 + 4 * seed, seed=seed)
    pictures[0].save(path, save_all=True, append_images=pictures[1:])


def write_tone(path, seed):
    write_sound(path, tone(0.3 + 0.15 * seed, hertz=300 * (1 + seed)))


def write_array(shape):
    def write(path, seed):
        values = np.random.default_rng(seed).normal(100, 30, shape)
        np.save(path, values.astype("float32"))

    return write


# Kind → model, ending of its files, what writes one, lengths of its map's axes, and tests that are asked for.
SOME = ("abpc", "token-dropping")
CASES = {
    "clip": (input_models.clip, "gif", write_clip, (2, 4, 4), ()),
    "sound": (input_models.sound, "wav", write_tone, (5, 15), ()),
    "volume": (input_models.volume, "npy", write_array((10, 14, 18)), (2, 3, 4), SOME),
    "bands": (input_models.bands, "npy", write_array((5, 40, 30)), (4, 4), SOME),
}


class Case:
    """A folder with two inputs for each of two classes, and one that is cut off; and what the command made of it."""

    def __init__(self, name, root):
        self.name, self.data, self.run = name, root / "data", root / "run"
        make, self.ending, write, self.grid, self.tests = CASES[name]
        for n, file in enumerate(("left/0", "left/1", BROKEN, "right/0", "right/1")):
            path = self.data / f"{file}.{self.ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, n)
        broken = self.data / f"{BROKEN}.{self.ending}"
        broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
        self.model = make()
        self.status, self.output = self.evaluated()

    def evaluated(self):
        words = ["evaluate", "perturbation", "--data", f"folder:{self.data}", "--protocol", "vitcam"]
        words += ["--model", f"input_models:{self.name}", "--method", "agcam", "--steps", str(STEPS)]
        words += ["--batch-size", "2", "--workers", "0", "-o", str(self.run)]
        words += [word for test in self.tests for word in ("--test", test)]
        result = CliRunner().invoke(program, words, env={"COLUMNS": "200"}, catch_exceptions=False)
        return result.exit_code, result.output

    @property
    def rows(self):
        """Of agcam's maps, in the order of the files."""
        return RunFolder(self.run).read().filter(pl.col("method") == "agcam").sort("image")

    @property
    def files(self):
        return [f"{label}/{n}.{self.ending}" for label in ("left", "right") for n in range(2)]

    @property
    def paths(self):
        return [self.data / file for file in self.files]

    @property
    def targets(self):
        return torch.tensor([self.model.class_index(file.split("/")[0]) for file in self.files])

    def explained(self, *parts):
        """Explanations by hand, of some files at a time: rounding decides between pixels that are nearly equal."""
        found = [
            vitcam.explain(self.model, self.paths[part], "agcam", targets=self.targets[part])
            for part in parts
        ]
        for e in found:
            assert e.heatmaps.shape[2:] == self.grid
            assert (e.region is not None) == (self.name == "sound")
        return found


def on_grid(explanations):
    return torch.cat([e.heatmaps[:, 0] for e in explanations])


def whole(explanations):
    """The maps over the whole input: in pixels, where patches cover a part of it."""
    return torch.cat(
        [(e.heatmaps if e.region is None else e.upsampled(normalize=False))[:, 0] for e in explanations]
    )


RUN = slice(0, 2), slice(2, 3), slice(3, 4)
"""The batches of the run: the second had the one that is cut off."""

ALONE = [slice(n, n + 1) for n in range(4)]


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def test_stored_numbers_are_those_of_curves_called_by_hand(case):
    """One by one, so that a batch gives what its inputs give alone; with maps made alone, up to a pixel."""
    given, targets, rows = case.model.preprocess(case.paths), case.targets, case.rows
    assert rows["image"].to_list() == case.files
    assert rows["target"].to_list() == targets.tolist() == [1, 1, 0, 0]
    assert rows["class_name"].to_list() == ["left", "left", "right", "right"]
    together, alone = case.explained(*RUN), case.explained(*ALONE)
    assert torch.allclose(on_grid(together), on_grid(alone), atol=1e-5 * float(on_grid(alone).abs().max()))
    for maps, within in ((whole(together), 1e-5), (whole(alone), 0.02)):
        for n, one in enumerate(ALONE):
            curves = perturbation_curves(case.model.module, given[one], maps[one], targets[one], STEPS)
            assert rows["morf"][n].to_list() == pytest.approx(curves.morf[0].tolist(), abs=within)
            assert rows["lerf"][n].to_list() == pytest.approx(curves.lerf[0].tolist(), abs=within)
            assert rows["abpc"][n] == pytest.approx(float(curves.abpc), abs=within)


def test_curves_begin_at_the_input_and_end_at_zeros_after_normalisation(case):
    given, targets = case.model.preprocess(case.paths), case.targets
    with torch.no_grad():
        ends = [case.model.module(each) for each in (given, torch.zeros_like(given))]
    whole, empty = (getattr(end, "logits", end).softmax(-1).gather(1, targets[:, None])[:, 0] for end in ends)
    for curve in ("morf", "lerf"):
        stored = np.stack(case.rows[curve].to_list())
        assert stored[:, 0] == pytest.approx(whole.numpy(), abs=1e-5)
        assert stored[:, -1] == pytest.approx(empty.numpy(), abs=1e-5)
        assert np.ptp(stored, axis=1).min() > 0.01, "a curve that stays where it is would show nothing"


def test_tokens_are_dropped_as_by_hand(case):
    given, maps = case.model.preprocess(case.paths), on_grid(case.explained(*RUN))
    found = vitcam.inspect(case.model.module, given)
    block = case.model.module.get_submodule(found.layout.blocks[0])
    of = case.model.module, block, found.grid, given, maps, case.targets, STEPS
    if case.name == "clip":  # all tokens of VideoMAE are patches
        assert case.rows["token_abpc"].null_count() == 4
        with pytest.raises(ModelError, match="all its tokens are patches"):
            token_dropping_curves(*of)
        return
    curves = token_dropping_curves(*of, tokens=found.layout.tokens)
    assert np.stack(case.rows["token_morf"].to_list()) == pytest.approx(curves.morf.numpy(), abs=1e-5)


def test_every_measure_that_is_defined_has_numbers_and_what_is_not_is_said(case):
    """Clips and volumes are neither blurred nor imputed."""
    settings = json.loads((case.run / "run.json").read_text())
    of_protocol = [name for name, each in MEASURES.items() if each.task == "perturbation" and each.protocols]
    undefined = {"road"} if case.name == "clip" else set()
    assert settings["tests"] == [name for name in case.tests or of_protocol if name not in undefined]
    said = "Left out, not being defined for inputs of 3 axes besides their channels: road\n"
    assert (said in case.output) == bool(undefined)
    for name in settings["tests"]:
        for number in MEASURES[name].numbers:
            values = case.rows[number.key]
            absent = (name == "token-dropping" or number.key.endswith(("_blur", "_imputed"))) and undefined
            if name == "irof":  # of what is predicted
                assert values.is_null().to_list() == (~case.rows["correct"]).to_list()
            else:
                assert values.null_count() == (4 if absent else 0), number.key


def test_what_is_cut_off_is_skipped_and_said_and_the_same_command_goes_on(case):
    assert case.status == 1, case.output
    broken = f"{BROKEN}.{case.ending}"
    failed = RunFolder(case.run).read().filter(pl.col("error").is_not_null())
    assert failed["image"].to_list() == [broken]
    assert broken in failed["error"][0]
    assert "4 images; left out: 1 that can't be read" in case.output
    assert f"Once these {case.model.preprocessing.files.what} can be read, the same command" in case.output
    before = case.rows
    status, output = case.evaluated()
    assert (status, before.equals(case.rows)) == (1, True)
    assert "5 of 5 images of the perturbation task are stored already" in output


def test_the_report_shows_the_map_where_it_lies(case):
    runs = read_runs([case.run])
    page = report_page(runs, score_tables(runs))
    what = case.model.preprocessing.files.what
    assert f"5 {what}, 2 classes" in page
    assert page.count("data:image/jpeg") > 3
    pictures = pl.concat([pl.read_parquet(file) for file in sorted((case.run / "gallery").glob("*.parquet"))])
    e = vitcam.explain(case.model, case.paths, "agcam", targets=case.targets)
    for n, file in enumerate(case.files):
        of = pictures.filter(pl.col("image") == file)
        shown, heat = (
            Image.open(io.BytesIO(of.filter(where)["picture"][0]))
            for where in (pl.col("method").is_null(), pl.col("method") == "agcam")
        )
        drawn = Image.fromarray(e.laid()[n, 0].numpy())
        whole = e.photographs[n] if case.name != "bands" else drawn
        assert shown.width / shown.height == pytest.approx(whole.width / whole.height, abs=0.03)
        if case.name == "bands":  # as of photographs, a pixel per patch
            drawn = Image.fromarray(e.heatmaps[n, 0].numpy())
        small = np.asarray(drawn.resize(heat.size, Image.Resampling.BILINEAR), dtype=float)
        assert np.corrcoef(small.ravel(), np.asarray(heat, dtype=float).ravel())[0, 1] > 0.97


def test_run_json_says_what_the_model_takes(case):
    settings = json.loads((case.run / "run.json").read_text())
    expected = {
        "clip": {"kind": "video", "channels": 3, "frames": 4, "height": 32, "width": 32},
        "sound": {"kind": "sound", "channels": 1, "band": 32, "time": 96},
        "volume": {"kind": "volume", "channels": 1, "planes": 8, "height": 12, "width": 16},
        "bands": {"kind": "picture", "channels": 5, "height": 32, "width": 32},
    }
    assert settings["model"]["input"] == expected[case.name]
    assert settings["dataset"]["photographs"] == 5
    assert settings["dataset"]["holds"] == case.model.preprocessing.files.what


@pytest.fixture
def clips(tmp_path):
    (tmp_path / "clips" / "left").mkdir(parents=True)
    write_clip(tmp_path / "clips" / "left" / "0.gif", 0)
    (tmp_path / "clips" / "left" / "0.gif").rename(tmp_path / "clips" / "left" / "0.mp4")
    return tmp_path / "clips"


def test_what_does_not_belong_together_is_an_error_that_says_so(clips, tmp_path):
    """Before anything is stored."""
    model, of_clips = input_models.bands(), input_models.clip()
    run = tmp_path / "run"

    def refused(error, text, data=f"folder:{clips}", model=of_clips, task="perturbation", **more):
        with pytest.raises(error, match=text):
            evaluate(task, data, model, ["agcam"], run, **more)

    text = r"has no photograph to evaluate: it holds files that models of other inputs read: 1, the first left/0\.mp4"
    refused(DatasetError, text, model="embedded:photo")
    refused(DatasetError, r"has no picture to evaluate: it holds files .* left/0\.mp4", model=model)
    photographs = tmp_path / "photographs" / "left"
    photographs.mkdir(parents=True)
    frames(1)[0].save(photographs / "0.png")
    refused(
        DatasetError,
        r"has no video to evaluate: it holds files .* left/0\.png",
        f"folder:{tmp_path}/photographs",
    )
    text = "clip takes videos, and the synthetic dataset at .* is of photographs: give --data folder:DIR, a folder"
    refused(DatasetError, text, "synthetic:")
    opened = open_dataset(f"folder:{clips}", files=of_clips.preprocessing.files)
    refused(
        DatasetError, "takes photographs, and the folder dataset at .* is of videos", opened, "embedded:photo"
    )
    for task in ("localization", "sanity", "all"):
        refused(
            RunError, "needs photographs, and clip takes videos: of these measure perturbation", task=task
        )
    text = "not defined for inputs of 3 axes besides their channels: road. Those that are, by --test: abpc, insertion"
    refused(RunError, text, protocol="vitcam", tests=["road", "abpc"])
    with pytest.raises(DatasetError, match=r"files= of a folder is what a model's preprocessing reads"):
        open_dataset(f"folder:{clips}", files="videos")
    assert not run.exists()


def test_clips_of_as_many_frames_as_channels_are_refused_where_their_axes_cannot_be_told(clips, tmp_path):
    """Three frames of three channels, channels first: by the tensor alone it would be frames first."""
    own = input_models.clip()
    prepare = vitcam.ClipPreprocessing(3, own.preprocessing.picture, channels_first=True)
    model = vitcam.LoadedModel(own.module, prepare, class_names=input_models.NAMES)
    with pytest.raises(
        ModelError, match=r"says that custom takes \(batch, 3, 3, 32, 32\), and by its first conv"
    ):
        evaluate("perturbation", f"folder:{clips}", model, ["agcam"], tmp_path / "run")


def test_boxes_of_a_folder_of_clips_are_not_read_and_that_is_said(clips):
    (clips / "boxes.csv").write_text("file,left,top,right,bottom\n")
    (clips / "stray.gif").write_bytes((clips / "left" / "0.mp4").read_bytes())
    dataset = open_dataset(f"folder:{clips}", files=vitcam.ClipPreprocessing.files)
    assert (dataset.ids, dataset.holds) == (("left/0.mp4",), "videos")
    assert dataset.notes == (
        f"left out, being directly in {clips} and in no class folder: 1 of its videos",
        f"not read, since boxes are of photographs: {clips / 'boxes.csv'}",
    )


def test_options_of_a_folder_that_mean_something_else_are_errors(clips):
    """They aren't left out unseen."""
    with pytest.raises(DatasetError, match=r"boxes are of photographs, and .*files: mine\.csv"):
        open_dataset(f"folder:{clips}", files=vitcam.ClipPreprocessing.files, boxes="mine.csv")
    sounds = {"files": vitcam.SoundPreprocessing.files}
    with pytest.raises(DatasetError, match="has no sound to evaluate"):
        opened(f"folder:{clips}", sounds, input_models.clip(), ("perturbation",), "vitcam")


def test_compressed_scans_are_files_of_a_folder(tmp_path):
    for name in ("ill/a.nii.gz", "ill/b.nii", "well/c.npy", "well/d.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    dataset = open_dataset(f"folder:{tmp_path}", files=vitcam.VolumePreprocessing.files)
    assert dataset.ids == ("ill/a.nii.gz", "ill/b.nii", "well/c.npy")


def test_a_dataset_of_ones_own_may_hold_clips(tmp_path):
    """Read by the model from each sample's path; without a path it is an error in its row."""
    write_clip(tmp_path / "clip.gif", 1)
    samples = (Sample("with", tmp_path / "clip.gif", (0,)), Sample("without", None, (0,)))
    dataset = Dataset(
        "mine", tmp_path, (DatasetClass("left"),), samples, read=lambda sample: sample, holds="videos"
    )
    summary = evaluate("perturbation", dataset, input_models.clip(), ["agcam"], tmp_path / "run", steps=2)
    numbers = summary["perturbation"]["agcam"]
    assert (numbers["images"], numbers["unreadable"]) == (1, 1)
    errors = RunFolder(tmp_path / "run").read()["error"].drop_nulls()
    assert "sample 'without' has no path" in errors[0]
    settings = RunFolder(tmp_path / "run").settings()
    assert settings["protocol"] == "paper"
    assert settings["model"]["preprocessing"] == str(input_models.clip().preprocessing), "nothing is squashed"
