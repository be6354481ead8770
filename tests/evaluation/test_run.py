"""What a run stores and says."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import miniature
import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

import vitcam
from vitcam.errors import MethodError, ModelError
from vitcam.evaluation import (
    Dataset,
    RunError,
    Sample,
    localization_scores,
    open_dataset,
    perturbation_curves,
)
from vitcam.evaluation.datasets import DatasetClass
from vitcam.evaluation.gallery import read_pictures, to_pictures
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.evaluation.summary import summarize
from vitcam.images import open_image
from vitcam.models.promptable import ImageTower
from vitcam.types import Box, PatchGrid

BASE = ["task", "image", "method", "target", "class_name", "label", "predicted", "correct", "error"]
BASE += ["annotation", "photograph"]
PAPER = ["pixel_accuracy", "iou", "dice", "precision", "recall"]


def test_localization_rows_and_summary(run, folder, data, model):
    summary = run()["localization"]
    rows = folder.read()
    assert rows.columns == [*BASE, *PAPER, "iou_curve"]
    assert list(summary) == ["agcam", "rollout", "random", "center"]
    assert json.loads((folder.path / "summary.json").read_text()) == {"localization": summary}

    dataset = open_dataset(f"folder:{data}")
    agcam = rows.filter(pl.col("method") == "agcam")
    assert agcam.height == 23
    wrong = agcam.filter(~pl.col("correct"))
    assert 0 < wrong.height < 23
    assert wrong["iou"].null_count() == wrong.height
    assert summary["agcam"]["images"] + summary["agcam"]["skipped_wrong"] == 23
    assert (summary["agcam"]["unreadable"], summary["agcam"]["unmatched"]) == (1, 0)

    right = agcam.filter("correct").to_dicts()
    for row in right[:4]:  # one image at a time, as the paper has it
        sample = dataset[dataset.ids.index(row["image"])]
        image = sample.image()
        explanation = vitcam.explain(model, model.preprocess(image))
        box = sample.boxes[0]
        x, y = 32 / image.width, 32 / image.height
        truth = (int(box.left * x), int(box.top * y), int(box.right * x), int(box.bottom * y))
        oracle = localization_scores(explanation.heatmaps[0, 0], [truth], size=(32, 32))
        assert {name: row[name] for name in PAPER} == pytest.approx(oracle, abs=1e-6)
        assert row["target"] == row["predicted"] == int(explanation.targets[0, 0]) == row["label"]
        assert row["class_name"] == miniature.CLASSES[row["label"]]
    mean = sum(row["iou"] for row in right) / len(right)
    assert summary["agcam"]["iou"] == pytest.approx(mean)
    low, high = summary["agcam"]["intervals"]["iou"]
    assert low < mean < high
    at = json.loads((folder.path / "run.json").read_text())["thresholds"].index(0.5)
    assert right[0]["iou_curve"][at] == right[0]["iou"]


def test_perturbation_explains_the_ground_truth_of_all_images(run, folder, data, model):
    summary = run("perturbation", steps=4)["perturbation"]["rollout"]
    assert (summary["images"], summary["skipped_wrong"]) == (23, 0)
    assert len(summary["lerf"]) == len(summary["morf"]) == 5
    assert summary["abpc"] == pytest.approx(summary["auc_lerf"] - summary["auc_morf"])
    row = folder.read().filter((pl.col("method") == "rollout") & ~pl.col("correct")).to_dicts()[0]
    assert row["target"] == row["label"] != row["predicted"]
    images = model.preprocess(data / row["image"])
    heatmaps = vitcam.explain(model, images, "rollout").heatmaps[:, 0]
    curves = perturbation_curves(model.module, images, heatmaps, torch.tensor([row["target"]]), 4)
    assert row["morf"] == pytest.approx(curves.morf[0].tolist(), abs=1e-5)
    assert row["abpc"] == pytest.approx(curves.abpc.item(), abs=1e-5)


class _Cropping(torch.nn.Module):
    """Sees the middle of its images."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images[..., 8:40, 16:48])


def test_maps_are_measured_where_the_model_looked(run, folder, data, model):
    cropping = replace(
        model, module=_Cropping(model.module), preprocessing=replace(model.preprocessing, size=(48, 64))
    )
    run("all", steps=4, model=cropping, protocol="vitcam", methods=["rollout"], limit=8)
    dataset = open_dataset(f"folder:{data}")
    rows = folder.read().filter(pl.col("method") == "rollout").drop_nulls("correct")
    for task in ("localization", "perturbation"):
        row = rows.filter((pl.col("task") == task) & pl.col("correct")).to_dicts()[0]
        image = dataset[dataset.ids.index(row["image"])].image()
        pixels = cropping.preprocess(image)
        explanation = vitcam.explain(cropping, pixels, "rollout", row["target"])
        assert explanation.region == (8, 16, 40, 48)
        laid = explanation.upsampled(normalize=False)[:, 0]
        if task == "localization":
            x, y = 64 / image.width, 48 / image.height
            box = dataset[dataset.ids.index(row["image"])].boxes[0]
            truth = (int(box.left * x), int(box.top * y), int(box.right * x), int(box.bottom * y))
            oracle = localization_scores(laid[0], [truth], size=(48, 64))
            stretched = localization_scores(explanation.heatmaps[0, 0], [truth], size=(48, 64))
            assert {name: row[name] for name in PAPER} == pytest.approx(oracle, abs=1e-6)
            assert oracle != pytest.approx(stretched, abs=1e-3)
        else:
            curves = perturbation_curves(cropping.module, pixels, laid, explanation.targets[:, 0], 4)
            assert row["morf"] == pytest.approx(curves.morf[0].tolist(), abs=1e-5)
            # The patches themselves are dropped, as if the crop were the image.
            inner = vitcam.explain(model, pixels[..., 8:40, 16:48], "rollout", row["target"])
            dropped = token_dropping_curves(
                *(model.module, model.module.blocks[0], PatchGrid(4, 4, 1)),
                *(pixels[..., 8:40, 16:48], inner.heatmaps[:, 0], inner.targets[:, 0], 4),
            )
            assert row["token_morf"] == pytest.approx(dropped.morf[0].tolist(), abs=1e-5)


def pictures(run, task, images):
    """What is stored for a report's gallery, decoded; by (image, method, target)."""
    stored = read_pictures(run, task, images)
    return {key: Image.open(io.BytesIO(picture)) for key, picture in stored.items()}


def test_every_score_has_its_picture(run, folder, data, model):
    run("all", steps=2)
    rows = folder.read()
    for task, scored in (
        ("localization", pl.col("correct")),
        ("perturbation", pl.col("method").is_not_null()),
    ):
        own = rows.filter(pl.col("task") == task).filter(scored)
        stored = pictures(folder.path, task, set(rows["image"]))
        photographs = {(image, None, None) for image in own["image"]}
        assert set(stored) == photographs | set(own.select("image", "method", "target").iter_rows())
    row = own.filter(method="agcam").to_dicts()[0]
    seen = model.preprocessing.view(open_image(data / row["image"]))
    photograph = np.asarray(stored[row["image"], None, None], dtype=float)
    assert np.abs(photograph - np.asarray(seen)).mean() < 25  # a JPEG of noise
    images = model.preprocess(data / row["image"])
    heatmap = vitcam.explain(model, images, "agcam", targets=row["target"]).heatmaps[0, 0].numpy()
    wanted = (heatmap - heatmap.min()) / np.ptp(heatmap) * 255
    assert np.abs(np.asarray(stored[row["image"], "agcam", row["target"]]) - wanted).max() <= 0.51


def test_pictures_are_few_bytes_and_can_be_left_out(run, folder, data, model):
    run(gallery=False)
    assert not (folder.path / "gallery").exists()
    photograph = Image.effect_noise((500, 375), 60).convert("RGB")
    heatmaps = [np.random.default_rng(i).random((14, 14)) for i in range(7)]
    rows = [{"image": "a", "method": f"{i}", "target": 0} for i in range(7)]
    stored = to_pictures("localization", {"a": photograph}, rows, heatmaps)
    assert sum(len(picture) for *_, picture in stored) < 10_000  # of noise; half as much of a photograph


def test_unreadable_images_are_rows_with_an_error(run, folder):
    run("all", steps=2)
    rows = folder.read().filter(pl.col("error").is_not_null())
    assert rows["image"].to_list() == [miniature.BROKEN] * 2
    assert rows["task"].to_list() == ["localization", "perturbation"]
    assert rows["method"].null_count() == 2
    assert miniature.BROKEN in rows["error"][0]


def test_a_batch_that_the_model_fails_on_is_named(run, folder):
    model = miniature.make_model()
    model.module.head.weight.data[0] = float("nan")
    with pytest.raises(ModelError, match=r"aren't finite .*\nThat was with the batch of cat/00\.png, .*png$"):
        run(model=model)


def summarized(rows, path):
    part = path / "part-000000-00000000.parquet"
    rows.write_parquet(part)
    return summarize(StoredRows((part,)), ["perturbation"], ["agcam"], 0, 0)["perturbation"]["agcam"]


def test_numbers_and_curves_that_overflowed_are_left_out_of_the_means(run, folder, tmp_path):
    run("perturbation", steps=2)
    rows = folder.read().filter(pl.col("method").is_not_null())
    assert summarized(rows, tmp_path)["images"] == 23
    nan, first = float("nan"), pl.col("image") == rows["image"][0]
    spoilt = rows.with_columns(
        pl.when(first).then(pl.lit([1.0, nan, 0.0])).otherwise("morf").alias("morf"),
        pl.when(first).then(nan).otherwise("abpc").alias("abpc"),
    )
    summary = summarized(spoilt, tmp_path)
    left = rows.filter(method="agcam")[1:]
    assert summary["abpc"] == pytest.approx(left["abpc"].mean())
    assert summary["morf"] == pytest.approx(np.mean(left["morf"].to_list(), axis=0).tolist())
    json.dumps(summary, allow_nan=False)


def test_vitcam_protocol_has_all_numbers(run, folder):
    summary = run("all", protocol="vitcam", steps=3, limit=12)
    localization, perturbation = (summary[task]["agcam"] for task in ("localization", "perturbation"))
    for name in (
        "max_iou",
        "pxap",
        "pixel_ap",
        "pointing",
        "energy",
        "max_box_accuracy",
        "max_box_accuracy_v2",
    ):
        assert 0 <= localization[name] <= 1, name
    assert "mask_iou" not in localization  # the dataset has none
    assert len(localization["iou_curve"]) == 20
    for name in ("abpc", "auc_insertion_blur", "auc_deletion_mean", "road_abpc", "token_abpc", "saco"):
        assert -1 <= perturbation[name] <= 1, name
    assert len(perturbation["token_morf"]) == 4
    rows = folder.read()
    assert rows.filter("correct", task="localization")["pixel_ap"].null_count() == 0
    assert (
        rows.filter(task="perturbation")["pixel_ap"].null_count() == rows.filter(task="perturbation").height
    )


def test_tests_without_numbers_are_said(run, data):
    """A dataset without masks; a model that averages its patches, so that nothing is left when all are dropped."""
    torch.manual_seed(0)
    sides = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3}
    module = VisionTransformer(**sides, class_token=False, global_pool="avg").eval()
    told = []
    settings = {"methods": ["gradcam"], "protocol": "vitcam", "steps": 2, "tell": told.append}
    model = replace(miniature.make_model(), module=module)
    run("perturbation", model=model, tests=["saco", "token-dropping"], limit=4, **settings)
    run("localization", output=data.parent / "masks", tests=["pointing", "mask"], **settings)
    assert [sentence for sentence in told if sentence.startswith("Not measured")] == [
        "Not measured: token-dropping, since the model has no class token, or its attention needs the whole grid "
        "of patches",
        "Not measured: mask, since none of these photographs has a mask",
    ]


def test_only_the_tests_that_were_chosen_are_run(run, folder):
    summary = run("all", protocol="vitcam", steps=2, limit=6, tests=["saco", "pointing", "energy"])
    columns = set(folder.read().columns)
    assert columns == {*BASE, "pointing", "energy", "saco"}
    assert folder.settings()["tests"] == ["pointing", "energy", "saco"]
    assert {"pointing", "energy"} < set(summary["localization"]["agcam"])
    for changed, message in [
        ({"tests": ["saco"]}, r"tests: pointing, energy, saco in the run, saco now"),
        (
            {"tests": ["rode"]},
            r"the vitcam protocol has no test 'rode'. Its tests are perturbation: abpc, ins",
        ),
        (
            {"tests": ["saco"], "task": "all"},
            "none of the tests saco is of the localization task: choose one",
        ),
        (
            {"tests": ["saco"], "protocol": "paper"},
            "the paper protocol has no test 'saco'; --protocol vitcam has it. Its",
        ),
    ]:
        given = {"task": "perturbation", "protocol": "vitcam", "steps": 2, "limit": 6, **changed}
        with pytest.raises(RunError, match=message):
            run(**given)


def test_limit_draws_from_the_whole_dataset(run, tmp_path):
    run(limit=6, output=tmp_path / "one")
    run(limit=6, seed=1, output=tmp_path / "other")
    one, other = (set(RunFolder(tmp_path / name).read()["image"]) for name in ("one", "other"))
    assert len(one) == len(other) == 6
    assert one != other
    assert len({image.split("/")[0] for image in one}) > 1


def test_classes_that_the_model_lacks_are_left_out_and_counted(run, folder):
    told = []
    summary = run(model=miniature.make_model(("hen", "cow", "cat")), tell=told.append)["localization"][
        "agcam"
    ]
    assert summary["unmatched"] == 8 + 1  # dogs, the broken one too
    rows = folder.read().filter("correct")
    assert {0: "cat", 2: "hen"}.items() >= dict(zip(rows["label"], rows["class_name"], strict=True)).items()
    assert rows.height > 0
    assert any("2 of 3 classes matched by name" in sentence for sentence in told)
    with pytest.raises(
        RunError, match=r"knows none of the classes .* \(0 of 3 classes matched: .* 'cat', the model 'a'"
    ):
        run(model=miniature.make_model(("a", "b", "c", "d")), output=folder.path / "x")


def test_settings_are_checked(run):
    for changed, message in [
        ({"threshold": 1.0}, "threshold must be a fraction from 0 to below 1; got 1.0"),
        ({"steps": 1}, "steps must be 2 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
    ]:
        with pytest.raises(RunError, match=message):
            run(**changed)
    with pytest.raises(MethodError, match="there is no method 'agcm'"):
        run(methods=["agcm"])
    with pytest.raises(MethodError, match="must be a list"):
        run(methods=[])


def test_broken_image_is_broken(data):
    with pytest.raises(vitcam.VitcamError):
        open_image(data / miniature.BROKEN)


class Halves:
    """Masks: the left half is the object, the top row is unknown."""

    def mask(self, labels):
        mask = np.zeros((40, 40), dtype=bool)
        mask[:, :20] = True
        return mask

    def void(self, labels):
        void = np.zeros((40, 40), dtype=bool)
        void[0] = True
        return void


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def made(samples):
    classes = tuple(map(DatasetClass, miniature.CLASSES))
    return Dataset("made", Path(), classes, tuple(samples), read=lambda sample: sample)


def test_masks_are_compared_where_there_are_any(run, folder, model):
    samples = [
        Sample(
            f"{i}",
            None,
            (i % 3,),
            () if i < 9 else (Box(0, 0, 20, 40),),
            () if i < 9 else (i % 3,),
            segmentation=Halves() if i < 9 else None,
            pixels=partial(noise, i),
        )
        for i in range(18)
    ]
    summary = run(data=made(samples), protocol="vitcam")["localization"]["agcam"]
    rows = folder.read().filter("correct", method="agcam").to_dicts()
    assert {int(row["image"]) < 9 for row in rows} == {True, False}
    for row in rows:
        assert (row["mask_iou"] is not None) == (int(row["image"]) < 9)
    masked = [row for row in rows if row["mask_iou"] is not None]
    assert summary["mask_iou"] == pytest.approx(sum(row["mask_iou"] for row in masked) / len(masked))
    image = model.preprocess(noise(int(masked[0]["image"])))
    hot = vitcam.explain(model, image).upsampled()[0, 0].numpy() > 0.5
    truth, counted = np.zeros((32, 32), dtype=bool), np.ones((32, 32), dtype=bool)
    truth[:, :16] = True  # and what is in the object is never unknown
    counted[0, 16:] = False
    hits = (hot & truth & counted).sum()
    union = ((hot | truth) & counted).sum()
    assert masked[0]["mask_iou"] == pytest.approx((hits + 1e-5) / (union + 1e-5))


def test_every_class_of_a_photograph_is_perturbed(run, folder):
    samples = [Sample(f"{i}", None, (0, 2), pixels=partial(noise, i)) for i in range(5)]
    summary = run("perturbation", data=made(samples), steps=2)["perturbation"]["agcam"]
    rows = folder.read().filter(method="agcam").sort("image", "target")
    assert summary["images"] == 5
    assert rows["target"].to_list() == [0, 2] * 5
    assert rows["label"].to_list() == [0, 2] * 5
    assert rows["class_name"].to_list() == ["cat", "hen"] * 5
    correct = [predicted in (0, 2) for predicted in rows["predicted"]]
    assert rows["correct"].to_list() == correct


def test_a_model_of_several_labels_is_scored_by_sigmoids(run, folder, model):
    samples = [Sample(f"{i}", None, (0, 2), pixels=partial(noise, i)) for i in range(2)]
    several = replace(model, multi_label=True)
    run("perturbation", data=made(samples), model=several, methods=["rollout"], steps=2)
    rows = folder.read().filter(method="rollout").sort("image", "target").to_dicts()
    with torch.no_grad():
        logits = model.module(torch.stack([model.preprocess(noise(i))[0] for i in range(2)]))
    wanted = logits.sigmoid()[:, [0, 2]].flatten().tolist()
    assert [row["morf"][0] for row in rows] == pytest.approx(wanted, abs=1e-5)
    assert vitcam.explain(several, noise(0)).probabilities[0].tolist() == pytest.approx(
        logits[0].sigmoid().tolist(), abs=1e-5
    )
    with pytest.raises(RunError, match=r"model\.multi_label: True in the run, False now"):
        run("perturbation", data=made(samples), methods=["rollout"], steps=2)


def test_a_model_that_reads_is_asked_about_the_datasets_classes(run, folder):
    texts = []

    def encode(prompts):
        texts.extend(prompts)
        return torch.nn.functional.normalize(torch.eye(3, 16))

    module = miniature.make_model().module
    module.reset_classifier(0)
    tower = ImageTower(module, torch.tensor(10.0)).eval()
    clip = vitcam.LoadedModel(tower, miniature.make_model().preprocessing, text_encoder=encode)
    run("perturbation", model=clip, methods=["rollout"], steps=2, limit=3)
    assert texts == ["a photo of a cat", "a photo of a dog", "a photo of a hen"]
    assert set(folder.read()["class_name"].drop_nulls()) <= set(miniature.CLASSES)


def test_low_precision_for_every_measure_and_method(run, tmp_path):
    """What is computed in fp32 all the same is said: some methods, and maps whose curves are measured."""
    told, given = [], {"methods": ["lrp", "agcam"], "protocol": "vitcam", "steps": 2, "limit": 6}
    whole = run("all", **given, output=tmp_path / "whole")
    half = run("all", **given, output=tmp_path / "half", precision="bf16", tell=told.append)
    assert "Computed in their own precision instead of bf16: lrp" in told
    assert "Perturbed images are run in bf16; their maps are computed in fp32" in told
    exact, lower = (RunFolder(tmp_path / name).read() for name in ("whole", "half"))
    assert exact.select(BASE).equals(lower.select(BASE))
    own = [rows.filter(task="localization", correct=True, method="lrp") for rows in (exact, lower)]
    assert own[0].height
    assert own[0].equals(own[1])  # nothing of them is of the lower precision
    assert not exact.filter(method="agcam").equals(lower.filter(method="agcam"))
    for task, methods in whole.items():
        for method, numbers in methods.items():
            assert list(half[task][method]) == list(numbers)
            for key in ("abpc", "auc_insertion_blur", "road_abpc", "token_abpc", "iou", "energy"):
                if key in numbers:
                    assert half[task][method][key] == pytest.approx(numbers[key], abs=0.05)
