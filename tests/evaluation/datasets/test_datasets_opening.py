from __future__ import annotations

from pathlib import Path

import pytest

from vitcam.evaluation.datasets import Sample, open_dataset


@pytest.mark.parametrize("spec", ["voc2012:/data", "/data/voc", "VOC:/data", ""])
def test_an_unknown_kind_lists_the_kinds(spec, complains):
    with complains("KIND:PATH", "imagenet, voc, cub, tiny-imagenet, imagenet-seg, coco, folder", repr(spec)):
        open_dataset(spec)


def test_a_path_is_needed(complains):
    with complains("'voc:' has no path", "voc:/data/voc"):
        open_dataset("voc:")


def test_a_path_must_exist(tmp_path, complains):
    with complains(tmp_path / "nowhere", "doesn't exist", "nothing is downloaded"):
        open_dataset(f"cub:{tmp_path / 'nowhere'}")


def test_unknown_options_list_the_known(tmp_path, complains):
    with complains("'splits'", "its options are split"):
        open_dataset(f"cub:{tmp_path}", splits="test")
    with complains("'root'", "it has none"):
        open_dataset(f"imagenet:{tmp_path}", root=3)


def test_the_home_folder_is_known(tmp_path, photograph, monkeypatch):
    photograph(tmp_path / "cat" / "a.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_dataset("folder:~")[0].path == tmp_path / "cat" / "a.jpg"


def test_a_sample_needs_pixels(complains):
    with complains("'x'", "neither a path nor pixels"):
        Sample("x", None, (0,)).image()


def test_boxes_of_a_class():
    with pytest.raises(ValueError, match="zip"):
        Sample("x", Path("x.jpg"), (0,), (), (0,)).boxes_of(0)
