"""What ends ``vitcam explain``: one clear line, and the exit status."""

import json
import resource

import pytest
import torch

from vitcam.cli.explaining import batches, saving
from vitcam.errors import VitcamError
from vitcam.writing import write_whole


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (
            ["--model", "nonsense"],
            2,
            "Can't load the model 'nonsense': it doesn't say where the model is from",
        ),
        (["--model", "embedded:foto"], 2, "Nearest: photo."),
        (["--method", "agcm"], 2, "there is no method 'agcm'. Did you mean 'agcam'?"),
        (["--method", "attention(lyer=1)"], 2, "attention has no option 'lyer'; its options are: layer"),
        (["--method", "attention(layer=99)"], 2, "this model's layers are 0 to 5"),
        (["--target", "kat"], 2, "embedded:photo has no class called 'kat'. Nearest: 'cat'"),
        (["--target", "62"], 2, "embedded:photo has 62 classes, 0 to 61; there is no class 62. A model of"),
        (["--target", "kat"], 2, "All of them: vitcam classes --model embedded:photo"),
        (["--target", "kat"], 2, "A model of 1,000 classes: --model timm:vit_base_patch16_224"),
        (["--target", "top0"], 2, "'top0' asks for no class"),
        (["--method", "AGCAM"], 2, "there is no method 'AGCAM'. Did you mean 'agcam'?"),
        (["--method", "GradCAM"], 2, "there is no method 'GradCAM'. Did you mean 'gradcam'?"),
        (["--method", "Grad-CAM"], 2, "there is no method 'Grad-CAM'. Did you mean 'gradcam'?"),
        (["--model", "vit_base_patch16_224"], 2, "Did you mean timm:vit_base_patch16_224?"),
        (["--model", "vit_b_16"], 2, "Did you mean torchvision:vit_b_16?"),
        (["--model", "google/vit-base-patch16-224"], 2, "Did you mean hf:google/vit-base-patch16-224?"),
        (["--model", "Timm:vit_tiny_patch16_224"], 2, "Did you mean timm:vit_tiny_patch16_224?"),
        (["--target", "top3", "--target", "cat"], 2, "--target top3 must stand alone"),
        (["--threshold", "1.5"], 2, "Invalid value for '--threshold'"),
        (["--batch-size", "0"], 2, "Invalid value for '--batch-size'"),
        (["--device", "nonsense"], 2, "can't run on device 'nonsense'"),
        (["--precision", "fp8"], 2, "Invalid value for '--precision'"),
    ],
)
def test_what_was_asked_for_does_not_exist(arguments, status, words, vitcam, photos, tmp_path):
    result = vitcam("explain", photos / "cat.jpg", "-o", tmp_path / "out", *arguments)
    assert result.exit_code == status
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not result.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("file", "can't write into {0}/file: it is a file, not a folder"),
        ("file/below", "can't make the folder {0}/file/below: Not a directory"),
    ],
)
def test_output_folder_that_cannot_be(output, words, vitcam, photos, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = vitcam("explain", photos / "cat.jpg", "-o", tmp_path / output)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {words.format(tmp_path)}\n"
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def full_disk():
    """As good as a full disk: no file may grow beyond 10,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_too_little_memory_is_a_line(vitcam, photos, tmp_path, monkeypatch):
    def compare(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nsee the manual")

    monkeypatch.setattr(batches, "compare", compare)
    result = vitcam("explain", photos / "cat.jpg", "-o", tmp_path)
    assert result.exit_code == 1
    assert "enough memory (CUDA out of memory. Tried to allocate 2.00 GiB): take" in " ".join(
        result.stderr.split()
    )


def test_full_disk_leaves_nothing_half_written(full_disk, vitcam, photos, tmp_path):
    result = vitcam("explain", photos / "cat.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == f"Error: can't write {tmp_path}/out/cat.panel.png: File too large\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_file_stays_as_it_was_when_it_cannot_be_replaced(full_disk, tmp_path):
    write_whole(tmp_path / "map.npy", b"before")
    with pytest.raises(VitcamError, match=r"can't write .*map\.npy: File too large"):
        write_whole(tmp_path / "map.npy", bytes(20_000))
    assert (tmp_path / "map.npy").read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["map.npy"]


def test_files_can_be_read_by_whoever_may_read_a_new_file(tmp_path):
    write_whole(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_interrupted_run_lists_what_was_done(vitcam, photos, tmp_path, monkeypatch):
    done = []

    def until_two_are_done(result, run, save=saving.save):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(result.photograph.path.name)
        return save(result, run)

    monkeypatch.setattr(saving, "save", until_two_are_done)
    result = vitcam("explain", photos, "-o", tmp_path)
    assert result.exit_code not in (0, 2)
    images = json.loads((tmp_path / "manifest.json").read_text())["images"]
    assert [image["file"].rpartition("/")[2] for image in images] == done == ["astronaut.jpg", "cat.jpg"]


def test_interrupted_while_the_model_runs_it_lists_all_that_is_there(vitcam, photos, tmp_path, monkeypatch):
    explained = []

    def until_the_second_batch(*args, compare=batches.compare, **kwargs):
        if explained:
            raise KeyboardInterrupt
        explained.append(compare(*args, **kwargs))
        return explained[0]

    monkeypatch.setattr(batches, "compare", until_the_second_batch)
    result = vitcam("explain", photos, "--batch-size", 2, "-o", tmp_path)
    assert result.exit_code not in (0, 2)
    images = json.loads((tmp_path / "manifest.json").read_text())["images"]
    there = {file.name for file in tmp_path.glob("*.png")}
    assert {image["panel"] for image in images} == there
    assert there <= {"astronaut.panel.png", "cat.panel.png"}
