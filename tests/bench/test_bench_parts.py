"""Each part of the benchmark on a tiny model: what its rows are, and what they are compared with."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bench_fakes import SPEC, Clock
from PIL import Image
from torch import nn
from torchvision.models import VisionTransformer

import vitcam
from vitcam.bench import Group, Row
from vitcam.bench import run as running
from vitcam.bench.limits import COMPARED, Limit
from vitcam.bench.measuring import rows_of
from vitcam.bench.parts import evaluation, folder, libraries, peers, scaling
from vitcam.bench.parts.comparing import comparing
from vitcam.bench.parts.generated import box_of, copy_photographs, generate_photographs, write_dataset
from vitcam.bench.parts.methods import methods, rank_correlation
from vitcam.bench.parts.start import start
from vitcam.bench.run import run_bench
from vitcam.bench.settings import Settings
from vitcam.bench.subject import load_subject
from vitcam.bench.timing import interleave
from vitcam.errors import BenchError, MethodError, ModelError
from vitcam.methods import METHODS


def statuses(group):
    return {row.name: row.status for row in group.rows}


def test_methods_of_the_default(bench, monkeypatch):
    names = []
    monkeypatch.setattr(
        "vitcam.bench.measuring.Bench.measure", lambda self, title, entries: names.append(entries) or ()
    )
    list(methods(bench(batches=(8, 1))))
    of_8, of_1 = ([entry.name for entry in entries] for entries in names)
    assert of_1[:4] == ["forward", "forward, oneDNN", "forward, bf16", "agcam"]
    assert of_1[4:6] == ["agcam, 5 classes", "agcam, bf16"]
    once = {name for name, method in METHODS.items() if not method.many_passes}
    assert {name for name in of_1 if name in METHODS} == once
    assert set(of_1) - set(of_8) == {name for name in once if name.startswith("captum:")}
    limits = {entry.name: entry.limits for entry in names[0]}
    assert (limits["agcam"][0].bound, limits["agcam, 5 classes"][0].bound) == (1.04, 1.06)
    assert {limits[name][0].bound for name in ("rollout", "gradcam")} == {1.05}
    assert {limits[name][0].bound for name in ("gae", "gradsam")} == {1.9}
    assert [limits[name][0].bound for name in ("legrad", "attnlrp", "lrp")] == [1.8, 3.0, 6.0]
    in_bf16 = limits["agcam, bf16"][0]
    assert (in_bf16.bound, in_bf16.of) == (1.0, ("forward, bf16",))
    of_one = {entry.name: entry.limits for entry in names[1]}
    assert (of_one["agcam"][0].bound, of_one["agcam, bf16"][0].bound) == (1.12, 1.1)


def test_all_methods_are_all_at_every_batch(bench, monkeypatch):
    names = []
    monkeypatch.setattr(
        "vitcam.bench.measuring.Bench.measure", lambda self, title, entries: names.append(entries) or ()
    )
    list(methods(bench(batches=(8, 1), methods=("all",))))
    for entries in names:
        assert set(METHODS) <= {entry.name for entry in entries}


def test_in_brief_those_of_many_passes_sample_less_and_once(bench, monkeypatch):
    names = []
    monkeypatch.setattr(
        "vitcam.bench.measuring.Bench.measure", lambda self, title, entries: names.append(entries) or ()
    )
    list(methods(bench(batches=(8, 1), methods=("brief",))))
    of_8, of_1 = ({entry.name.partition("(")[0] for entry in entries} for entries in names)
    assert set(METHODS) <= of_1
    dear = {name for name, method in METHODS.items() if method.many_passes or name.startswith("captum:")}
    assert of_1 - of_8 == dear
    assert {"rise(budget=64)", "captum:Lime(n_samples=64)"} <= {entry.name for entry in names[1]}
    for entry in names[1]:
        if "64" in entry.name:
            entry.run()  # as many samples as the method needs at least


def test_the_denominator_is_the_fastest_way_and_both_are_shown():
    """On a clock: oneDNN takes half of what the model's own pass takes, or twice."""
    for other, way in ((1.0, "forward, oneDNN"), (4.0, "forward")):
        clock = Clock()
        entries = [
            clock.entry("forward", 2.0),
            clock.entry("forward, oneDNN", other, reference="forward", same_as="forward"),
            clock.entry("agcam", 3.0, reference="forward", limits=(Limit("time", 2.0),)),
            clock.entry("loop", 9.0),
        ]
        rows = {row.name: row for row in rows_of(entries, interleave(entries, 2, clock=clock))}
        agcam = rows["agcam"]
        assert (agcam.fastest, agcam.ratios) == (way, (1.5, 1.5))
        assert agcam.fastest_ratios == ((3.0, 3.0) if other == 1.0 else (1.5, 1.5))
        assert agcam.checks[0].met == (other == 4.0)  # the target is of the fastest way
        assert rows["forward"].fastest is None
        assert rows["loop"].fastest_ratios == ()


def test_methods(bench):
    (group,) = methods(bench(methods=("agcam", "attention(layer=1)")))
    assert set(statuses(group).values()) == {"measured"}
    rows = {row.name: row for row in group.rows}
    assert list(rows) == [
        "forward",
        "forward, oneDNN",
        "forward, bf16",
        "agcam",
        "agcam, 5 classes",
        "agcam, bf16",
        "attention(layer=1)",
    ]
    assert rows["forward"].ratios == ()
    assert rows["agcam"].ratios[0] == pytest.approx(rows["agcam"].seconds[0] / rows["forward"].seconds[0])
    assert rows["agcam"].memory > 0
    assert rows["agcam, bf16"].values["rank correlation"] > 0.9
    assert rows["agcam"].images == 2


def test_methods_in_bf16_have_no_fp32_rows(bench, subject):
    asked = bench(methods=("agcam",), precision="bf16")
    (group,) = methods(asked)
    assert list(statuses(group)) == ["forward", "agcam", "agcam, 5 classes"]


def test_rank_correlation():
    maps = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    assert rank_correlation(maps, maps**3) == pytest.approx(1.0)
    assert rank_correlation(maps, -maps) == pytest.approx(-1.0)
    swapped = torch.tensor([[[[1.0, 3.0, 2.0, 4.0]]]])
    assert rank_correlation(maps, swapped) == pytest.approx(1 - 6 * 2 / (4 * 15))  # 1 − 6Σd²/n(n²−1)
    assert rank_correlation(maps.repeat(2, 1, 1, 1), torch.cat([maps, -maps])) == pytest.approx(0.0)


def test_compare(bench):
    (group,) = comparing(bench())
    *single, together = group.rows
    assert [row.name for row in single] == ["forward", "forward, oneDNN", *COMPARED]
    alone = sum(row.seconds[0] for row in single[2:])
    (found,) = together.checks
    assert found.value == pytest.approx(together.seconds[0] / alone)
    assert found.limit.bound == 0.6


def test_start(bench):
    (group,) = start(bench())
    assert set(statuses(group).values()) == {"measured"}
    imported = group.rows[-1]
    python, importing = (row.seconds[0] for row in group.rows[1:3])
    assert imported.seconds == pytest.approx((importing - python,))
    assert imported.checks[0].limit.bound == 0.15


def test_scaling(bench, monkeypatch):
    monkeypatch.setattr(scaling, "SIZES", (160, 320))
    monkeypatch.setattr(scaling, "CLASSES", (1, 3))
    monkeypatch.setattr(scaling, "BATCHES", (1, 3))
    sizes, classes, batches = scaling.scaling(bench())
    assert all(set(statuses(group).values()) == {"measured"} for group in (sizes, classes, batches))
    assert {row.note for row in sizes.rows if row.note} == {"100 patches", "400 patches"}
    assert [(row.name, row.reference) for row in sizes.rows[2:]] == [
        ("forward, 320 px", None),
        ("agcam, 320 px", "forward, 320 px"),
    ]
    assert list(statuses(classes)) == ["forward", "agcam, 1 class", "agcam, 3 classes"]
    assert [row.images for row in batches.rows] == [1, 1, 3, 3]


def test_a_model_of_another_size_is_a_copy(subject, rigid):
    resized = scaling.at_size(rigid, 96)
    assert resized.module is not rigid.module
    assert resized.module.patch_embed.img_size == (96, 96)
    assert rigid.module.patch_embed.img_size == (64, 64)
    assert scaling.at_size(rigid, 64) is rigid
    assert scaling.at_size(subject, 320) is subject  # test_vit takes any size


def test_a_size_that_a_model_does_not_take_is_told_in_its_row(bench, monkeypatch):
    monkeypatch.setattr(scaling, "SIZES", (160, 165))
    group = next(scaling.scaling(bench()))
    unfit = group.rows[-1]
    assert (unfit.name, unfit.status) == ("agcam, 165 px", "not applicable")
    assert unfit.problem.startswith("VisionTransformer doesn't take images of 165×165: AssertionError: Input")


def test_generated_photographs(tmp_path):
    photographs = generate_photographs(tmp_path / "photographs", 3)
    again = generate_photographs(tmp_path / "again", 3)
    assert [path.read_bytes() for path in photographs] == [path.read_bytes() for path in again]
    for number, path in enumerate(photographs):
        image = np.asarray(Image.open(path), dtype=float)
        assert image.shape == (375, 500, 3)
        left, top, right, bottom = box_of(number)
        inside = image[(top + bottom) // 2 - 5 : (top + bottom) // 2 + 5, (left + right) // 2 - 5 :][:, :10]
        assert inside.std(axis=(0, 1)).max() < 5  # of one colour
        assert image[:8, :8].std(axis=(0, 1)).min() > 5  # noise
    write_dataset(tmp_path / "dataset", photographs, ["a", "b", "a"])
    assert sorted(path.name for path in (tmp_path / "dataset" / "a").iterdir()) == ["000.jpg", "002.jpg"]
    with (tmp_path / "dataset" / "boxes.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[2] == ["b/001.jpg", *map(str, box_of(1))]
    copy_photographs(tmp_path / "copies", 5)
    assert len({path.read_bytes() for path in (tmp_path / "copies").iterdir()}) == 4


def test_evaluation(bench, subject, tmp_path, monkeypatch):
    pytest.importorskip("polars", reason="evaluations need polars, which isn't installed")
    summaries, evaluate = [], evaluation.evaluate

    def spied(*arguments, **settings):
        summaries.append(evaluate(*arguments, **settings))
        return summaries[-1]

    monkeypatch.setattr(evaluation, "evaluate", spied)
    monkeypatch.setattr(evaluation, "LOCALIZED", 2)
    monkeypatch.setattr(evaluation, "PERTURBED", 2)
    localization, perturbation = evaluation.evaluation(bench())
    assert set(statuses(localization).values()) == set(statuses(perturbation).values()) == {"measured"}
    assert list(statuses(localization)) == [
        "loop, fp32",
        "loop, bf16",
        "vitcam evaluate, fp32",
        "vitcam evaluate, bf16",
    ]
    # The loop scores what the evaluation scores,
    scores = evaluation.localize_one_by_one(subject.loaded, generate_photographs(tmp_path, 2), "fp32")
    for place, method in enumerate(COMPARED):
        found = summaries[0]["localization"][method]
        assert found["images"] == 2
        ious = [score["iou"] for score in scores[place :: len(COMPARED)]]
        assert found["iou"] == pytest.approx(np.mean(ious), abs=1e-6)
    # and follows the same probabilities.
    in_fp32 = perturbation.rows[2]
    assert in_fp32.values["largest difference"] < 1e-4
    assert [found.limit.bound for found in in_fp32.checks] == [1.25, 1e-3]


def test_folder(bench, monkeypatch):
    asked = []

    def command(bench, spec, photographs, batch):
        asked.append((spec, len(list(photographs.iterdir())), batch))
        return lambda: None

    monkeypatch.setattr(folder, "_command", command)
    monkeypatch.setattr(
        folder,
        "interleave",
        lambda entries, *a, **k: {
            entry.name: folder.Outcome((time,))
            for entry, time in zip(entries, (6.0, 4.0, 3.0, 8.0), strict=True)
        },
    )
    (group,) = folder.folder(bench())
    (spec, few, batch), (_, many, _) = asked
    assert spec.startswith(f"{SPEC}@")
    assert (few, many, batch) == (2, 34, 2)
    rate = group.rows[-1]
    assert rate.seconds == (5.0,)
    assert rate.images == 32
    assert rate.checks[0].value == pytest.approx(4 / 5)  # of the images/s of the faster forward pass
    assert not rate.checks[0].met


def test_folder_on_a_machine_that_is_too_busy(bench, monkeypatch):
    monkeypatch.setattr(folder, "_command", lambda *a: lambda: None)
    monkeypatch.setattr(
        folder,
        "interleave",
        lambda entries, *a, **k: {entry.name: folder.Outcome((1.0,)) for entry in entries},
    )
    (group,) = folder.folder(bench())
    assert group.rows[-1].problem == (
        "the machine was so busy that vitcam explain, 34 wasn't slower than vitcam explain, 2"
    )


def test_the_folder_s_command(bench, tmp_path, monkeypatch):
    ran = []

    def run(command, **settings):
        ran.append((command, settings["env"]["OMP_NUM_THREADS"]))
        return SimpleNamespace(returncode=1, stderr="Error: no such photograph\n")

    monkeypatch.setattr(folder.subprocess, "run", run)
    with pytest.raises(BenchError, match="vitcam explain failed: Error: no such photograph"):
        folder._command(bench(threads=3), "embedded:photo", tmp_path / "few", 4)()
    ((command, threads),) = ran
    assert command[:4] == [sys.executable, "-m", "vitcam", "explain"]
    assert command[4] == str(tmp_path / "few")
    assert dict(zip(command[5::2], command[6::2], strict=True)) == {
        "--model": "embedded:photo",
        "--batch-size": "4",
        "--precision": "fp32",
        "--output": f"{tmp_path / 'few'}-output",
    }
    assert threads == "3"


def test_models_with_files_are_given_to_the_command_as_they_are(bench, tmp_path):
    asked = bench(model="timm:test_vit@weights.pth")
    assert folder._spec(asked, tmp_path) == "timm:test_vit@weights.pth"
    assert folder._spec(bench(model="embedded:photo"), tmp_path) == "embedded:photo"
    again = vitcam.load_model(folder._spec(bench(), tmp_path))
    images = torch.rand(1, 3, 160, 160)
    torch.testing.assert_close(again.module(images), asked.subject.module(images))


def test_peers(bench, monkeypatch):
    def works(subject, images):
        return lambda: subject.forward(images)()

    def raises(subject, images):
        raise ImportError("cannot import name 'prune'")

    listed = (
        peers.Peer("torch", "Works", "gradcam", works, upsampled=True, note="a note"),
        peers.Peer("numpy", "Raises", "agcam", raises),
        peers.Peer("no-such-library", "Nothing", "agcam", works),
        peers.Peer("pillow", "Unfit", "agcam", raises, obstacle=lambda subject: "it reads no ViTs"),
    )
    monkeypatch.setattr(peers, "PEERS", {"": listed, "torchvision:vit_b_16": listed[2:3]})
    on_ours, on_theirs = peers.peers(bench())
    assert statuses(on_ours) == {
        "forward": "measured",
        "vitcam gradcam": "measured",
        "torch Works": "measured",
        "vitcam agcam": "measured",
        "numpy Raises": "failed",
        "pillow Unfit": "not applicable",
        "no-such-library Nothing": "not installed",
    }
    rows = {row.name: row for row in on_ours.rows}
    assert rows["numpy Raises"].problem == "ImportError: cannot import name 'prune'"
    assert rows["torch Works"].note == f"version {version('torch')}; a note"
    assert rows["pillow Unfit"].problem == "it reads no ViTs"
    assert rows["no-such-library Nothing"].problem == "pip install no-such-library"
    assert statuses(on_theirs) == {"no-such-library Nothing": "not installed"}


@pytest.mark.parametrize(
    ("library", "build", "method"),
    [
        ("pytorch_grad_cam", libraries.grad_cam, "gradcam"),
        ("captum", libraries.captum_saliency, "captum:Saliency"),
    ],
)
def test_libraries_on_timm(library, build, method, subject):
    pytest.importorskip(library, reason=f"the peer {library} isn't installed")
    images = subject.images(2)
    found = torch.as_tensor(build(subject, images)())
    ours = vitcam.explain(subject.module, images, method)
    if method == "captum:Saliency":
        pixels = nn.functional.adaptive_avg_pool2d(found.sum(1), ours.heatmaps.shape[-2:])
        torch.testing.assert_close(ours.heatmaps[:, 0], pixels, rtol=1e-3, atol=1e-6)
    else:
        torch.testing.assert_close(ours.upsampled()[:, 0], found, atol=0.02, rtol=0)  # OpenCV's resize
    assert all(parameter.grad is None for parameter in subject.module.parameters())
    assert not any(module._forward_hooks for module in subject.module.modules())


def test_torchcam(subject):
    pytest.importorskip("torchcam", reason="the peer torchcam isn't installed")
    module = VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=7).eval()
    nn.init.normal_(module.heads.head.weight)
    tiny = replace(subject, loaded=replace(subject.loaded, module=module))
    images = torch.randn(2, 3, 64, 64)
    (found,) = libraries.torchcam_legrad(tiny, images)()
    ours = vitcam.explain(module, images, "legrad").heatmaps[:, 0]
    torch.testing.assert_close(ours / ours.max(), 2 * found / ours.max(), atol=1e-4, rtol=0)
    assert not any(each._forward_hooks for each in module.modules())


def test_grad_cam_on_other_models(subject):
    other = replace(subject, loaded=replace(subject.loaded, module=nn.Linear(2, 2)))
    assert libraries.grad_cam_obstacle(other).endswith("use grad-cam with timm's ViTs, not Linear")
    assert libraries.grad_cam_obstacle(subject) == ""


def test_patched_classes_are_put_back():
    class Layer:
        def forward(self):
            return "own"

    def patch_and_fail():
        with libraries._put_back(Layer):
            Layer.original_forward = Layer.forward
            Layer.forward = lambda self: "patched"
            raise RuntimeError(Layer().forward())

    with pytest.raises(RuntimeError, match="patched"):
        patch_and_fail()
    assert Layer().forward() == "own"
    assert not hasattr(Layer, "original_forward")


def test_subject(subject):
    images = subject.images(6)
    assert images.shape == (6, 3, 160, 160)
    assert len({image.sum().item() for image in images[:4]}) == 4
    assert not images[0].equal(images[4])  # shifted
    assert subject.images(1, 96).shape == (1, 3, 96, 96)
    assert subject.forward(images)().is_inference()
    assert subject.forward(images, "bf16")().dtype == torch.bfloat16
    assert subject.classes() == 1000


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone(subject):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    again = load_subject(SPEC, "fp32")
    assert torch.rand(1) == expected
    assert all(
        torch.equal(a, b) for a, b in zip(subject.module.parameters(), again.module.parameters(), strict=True)
    )


def test_a_model_that_can_not_be_explained():
    message = "timm:test_resnet can't be benchmarked, since it can't be explained: .*attention"
    with pytest.raises(ModelError, match=message):
        load_subject("timm:test_resnet", "fp32")


def test_threads_are_put_back(monkeypatch):
    before = torch.get_num_threads()

    def counts_threads(bench):
        for name in ("one", "two"):
            yield Group("start", name, (Row(str(torch.get_num_threads())),))

    monkeypatch.setattr(running, "_PARTS", {"start": counts_threads})
    seen = []
    for group in run_bench(Settings(threads=before + 1, parts=("start", "start"))):
        seen.append((group.title, group.rows[0].name))
        assert torch.get_num_threads() == before
    assert seen == [("one", str(before + 1)), ("two", str(before + 1))]


def test_unknown_methods_are_told_before_anything_is_measured():
    with pytest.raises(MethodError, match="there is no method 'agcm'"):
        next(run_bench(Settings(model=SPEC, methods=("agcm",), parts=("start",))))
