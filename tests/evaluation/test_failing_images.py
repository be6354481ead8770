"""An image that the model or a test fails on is one row with an error; the run goes on."""

from __future__ import annotations

from dataclasses import replace

import miniature
import polars as pl
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from vitcam.errors import ModelError, is_out_of_memory
from vitcam.evaluation import RunError, failing, loading
from vitcam.evaluation.store import RunFolder
from vitcam.methods import METHODS

WHITE = "hen/white.png"


@pytest.fixture
def data(tmp_path):
    """The miniature photographs and a white one."""
    root = miniature.make_dataset(tmp_path / "data", images=11, broken=False)
    Image.new("RGB", (40, 40), "white").save(root / WHITE)
    with (root / "boxes.csv").open("a") as file:
        file.write(f"{WHITE},1,1,9,9\r\n")
    return root


def blind_to_white(spoil, passes=None):
    """The miniature model, whose logits of a white image are spoilt."""
    model = miniature.make_model()

    def hook(module, given, logits):
        if passes is not None:
            passes.append(len(logits))
        white = (given[0] > 0.99).flatten(1).all(dim=1)
        return torch.where(white[:, None], spoil, logits)

    model.module.register_forward_hook(hook)
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("task", ["localization", "perturbation"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_image_with_logits_that_are_not_finite_is_a_row_with_an_error(
    tmp_path, run, data, task, value, batch_size
):
    given = {"data": f"folder:{data}", "model": blind_to_white(value), "steps": 2, "batch_size": batch_size}
    told = []
    summary = run(task, **given, tell=told.append)[task]["agcam"]
    assert summary["images"] + summary["skipped_wrong"] == 11
    assert summary["unreadable"] == 1
    rows = RunFolder(tmp_path / "run").read()
    (failed,) = rows.filter(pl.col("error").is_not_null()).to_dicts()
    assert (failed["image"], failed["method"]) == (WHITE, None)
    assert failed["error"].startswith(f"{WHITE}: ")
    assert "aren't finite" in failed["error"]
    assert failed["error"] in told

    # and the others are what they are without it
    (data / WHITE).write_bytes(b"broken")
    run(task, **given, output=tmp_path / "without")
    without = RunFolder(tmp_path / "without").read()
    assert without.filter(pl.col("error").is_null()).equals(rows.filter(pl.col("error").is_null()))


def test_what_the_model_failed_on_is_done_again_only_if_it_has_changed(tmp_path, run, data):
    passes = []
    given = {"data": f"folder:{data}", "model": blind_to_white(float("nan"), passes)}
    run(**given)
    done = len(passes)
    run(**given)
    assert len(passes) == done
    Image.effect_noise((40, 40), 60).convert("RGB").save(data / WHITE)
    summary = run(**given)["localization"]["agcam"]
    assert len(passes) > done
    assert (summary["unreadable"], summary["images"] + summary["skipped_wrong"]) == (0, 12)


def test_a_model_whose_weights_are_not_finite_is_the_models_fault(run, data):
    model = miniature.make_model()
    model.module.head.weight.data[0] = float("nan")
    message = r"aren't finite .*The model's head\.weight holds NaN or infinite values: .*\nThat was with"
    with pytest.raises(ModelError, match=message):
        run(data=f"folder:{data}", model=model)


def test_a_model_that_cannot_be_explained_is_no_fault_of_its_images(run, data):
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    model = replace(miniature.make_model(), module=flat)
    with pytest.raises(ModelError, match=r"(?s)no attention was seen.*That was with the batch of"):
        run(data=f"folder:{data}", model=model, methods=["agcam"])


def test_the_command_ends_with_status_1(tmp_path, data, monkeypatch):
    from vitcam.cli.program import program

    monkeypatch.setattr("vitcam.evaluation.opening.load_model", lambda spec: blind_to_white(float("nan")))
    words = ["evaluate", "localization", "--data", f"folder:{data}", "-o", str(tmp_path / "run")]
    for _ in range(2):
        result = CliRunner().invoke(program, words, env={"COLUMNS": "150"})
        assert result.exit_code == 1
        assert "1 that can't be read or compared with" in result.output


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_too_little_memory_is_a_sentence_and_a_smaller_batch_goes_on(tmp_path, run, data, monkeypatch, error):
    model = miniature.make_model()
    given, seen = {"data": f"folder:{data}", "model": model}, []

    def hook(module, images):
        seen.append(len(images[0]))
        if len(images[0]) > 2 and len(seen) > 8:
            raise error

    handle = model.module.register_forward_pre_hook(hook)
    message = (
        r"memory has run out with a batch of 4 .*What is stored is whole; give the same command with a "
        r"smaller --batch-size, such as 2: it goes on from there"
    )
    with pytest.raises(RunError, match=message):
        run(**given, store_every=0)
    kept = RunFolder(tmp_path / "run").read()
    assert 0 < kept["image"].n_unique() < 12
    told = []
    summary = run(**given, batch_size=2, tell=told.append)["localization"]["agcam"]
    handle.remove()
    assert summary["images"] + summary["skipped_wrong"] == 12
    assert "The run was begun with batches of 4 and goes on with 2, on which the last digits" in "\n".join(
        told
    )
    again = RunFolder(tmp_path / "run").read()
    assert again.filter(pl.col("image").is_in(kept["image"].unique().implode())).equals(
        kept
    )  # one outcome each


def test_one_photograph_that_does_not_fit_has_other_remedies():
    assert "not even one at a time fits: take fewer methods" in str(failing.out_of_memory(MemoryError(), 1))
    assert not is_out_of_memory(RuntimeError("shapes don't match"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 GB")]
)
def test_a_photograph_that_memory_is_too_little_for_is_a_row_with_an_error(
    tmp_path, run, data, monkeypatch, workers, error
):
    find_truth, failing = loading.find_truth, [True]

    def too_large(sample, *given):
        if failing and sample.id == WHITE:
            raise error
        return find_truth(sample, *given)

    monkeypatch.setattr(loading, "find_truth", too_large)
    given = {"data": f"folder:{data}", "workers": workers}
    summary = run(**given)["localization"]["agcam"]
    assert (summary["unreadable"], summary["images"] + summary["skipped_wrong"]) == (1, 11)
    (failed,) = RunFolder(tmp_path / "run").read().filter(pl.col("error").is_not_null()).to_dicts()
    assert failed["error"] == (
        f"{WHITE}: there wasn't enough memory to prepare it. The same command tries it again; fewer --workers "
        "prepare fewer photographs at a time"
    )
    failing.clear()
    summary = run(**given)["localization"]["agcam"]
    assert (summary["unreadable"], summary["images"] + summary["skipped_wrong"]) == (0, 12)


def test_other_errors_of_preparing_are_raised(run, data, monkeypatch):
    def broken(*given):
        raise RuntimeError("shapes don't match")

    monkeypatch.setattr(loading, "find_truth", broken)
    with pytest.raises(RuntimeError, match="shapes don't match"):
        run(data=f"folder:{data}")


@pytest.mark.parametrize("task", ["localization", "perturbation"])
def test_an_image_that_a_method_from_elsewhere_gives_no_finite_map_for(
    tmp_path, run, data, monkeypatch, task
):
    def brightness(model, images, targets):
        white = (images > 0.99).flatten(1).all(dim=1)
        return images.mean(dim=1).where(~white[:, None, None], torch.nan)

    monkeypatch.setitem(METHODS, "brightness", brightness)
    summary = run(task, data=f"folder:{data}", methods=["brightness"], steps=2)[task]["brightness"]
    assert summary["images"] + summary["skipped_wrong"] == 11
    (failed,) = RunFolder(tmp_path / "run").read().filter(pl.col("error").is_not_null()).to_dicts()
    assert failed["image"] == WHITE
    assert "brightness gives NaN or infinite values, first for image 0 of the batch" in failed["error"]
