from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from vitcam.evaluation.datasets import open_dataset

h5py = pytest.importorskip("h5py", reason="imagenet-seg needs h5py")

IDS = ("n02084071_17", "n01440764_3", "n02084071_99")
NOISE = np.random.default_rng(0)
PHOTOGRAPHS = [NOISE.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in IDS]
MASKS = [NOISE.integers(0, 2, (6, 8), dtype=np.uint8) for _ in IDS]


def build(path, columns=("img", "gt", "target", "id"), photographs=PHOTOGRAPHS):
    """As MATLAB's v7.3 writes a struct array: columns of references, everything transposed, texts as UTF-16."""
    with h5py.File(path, "w", userblock_size=512) as file:
        refs, value = file.create_group("#refs#"), file.create_group("value")

        def stored(name, content):
            refs[name] = content
            return refs[name].ref

        def text(name, content):
            return stored(name, np.array([[ord(letter)] for letter in content], dtype=np.uint16))

        def cell(name, content):
            refs.create_dataset(name, (1, 1), dtype=h5py.ref_dtype)[0, 0] = content
            return refs[name].ref

        entries = {
            "img": lambda i: stored(f"img{i}", photographs[i].T),
            "gt": lambda i: cell(f"cell{i}", stored(f"mask{i}", MASKS[i].T)),
            "target": lambda i: text(f"target{i}", IDS[i].split("_")[0]),
            "id": lambda i: text(f"id{i}", IDS[i]),
        }
        for column in columns:
            value.create_dataset(column, (len(IDS), 1), dtype=h5py.ref_dtype)
            for i in range(len(IDS)):
                value[column][i, 0] = entries[column](i)
    return path


@pytest.fixture
def path(tmp_path):
    return build(tmp_path / "gtsegs_ijcv.mat")


@pytest.mark.parametrize(
    "columns", [("img", "gt", "target", "id"), ("img", "gt", "id"), ("img", "gt", "target")]
)
def test_classes_whichever_column_tells(tmp_path, columns):
    dataset = open_dataset(f"imagenet-seg:{build(tmp_path / 'other.mat', columns)}")
    assert [item.wordnet_id for item in dataset.classes] == ["n01440764", "n02084071"]
    assert [sample.labels for sample in dataset] == [(1,), (0,), (1,)]
    assert len(set(dataset.ids)) == 3


def test_photographs_and_masks(path):
    dataset = open_dataset(f"imagenet-seg:{path.parent}")
    assert dataset.ids[0] == "00000_n02084071_17"
    for sample, photograph, mask in zip(dataset, PHOTOGRAPHS, MASKS, strict=True):
        np.testing.assert_array_equal(np.asarray(sample.image()), photograph)
        np.testing.assert_array_equal(sample.mask(), mask == 1)
        assert not sample.mask(5).any()
        assert not sample.void().any()
        assert (sample.width, sample.height) == (8, 6)
        assert sample.boxes == ()
        assert sample.path is None


def test_a_pickled_sample_still_reads(path):
    sample = pickle.loads(pickle.dumps(open_dataset(f"imagenet-seg:{path}")[1]))
    np.testing.assert_array_equal(np.asarray(sample.image()), PHOTOGRAPHS[1])
    np.testing.assert_array_equal(sample.mask(), MASKS[1] == 1)


def test_a_missing_file_is_named(tmp_path, complains):
    with complains(tmp_path / "gtsegs_ijcv.mat"):
        open_dataset(f"imagenet-seg:{tmp_path}")


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_truncated_file_is_refused(path, complains, size):
    path.write_bytes(path.read_bytes()[:size])
    with complains(path, "truncated"):
        open_dataset(f"imagenet-seg:{path}")


@pytest.mark.parametrize("columns", [("gt", "target"), ("img", "gt")])
def test_another_structure_is_refused(tmp_path, complains, columns):
    path = build(tmp_path / "gtsegs_ijcv.mat", columns)
    with complains(path, "value/target"):
        open_dataset(f"imagenet-seg:{path}")


def test_a_file_without_masks_is_refused(tmp_path, complains):
    path = build(tmp_path / "gtsegs_ijcv.mat", ("img", "target"))
    with complains(path, "value/gt"):
        open_dataset(f"imagenet-seg:{path}")


def test_photographs_must_have_three_channels(tmp_path, complains):
    path = build(tmp_path / "gtsegs_ijcv.mat", photographs=[np.zeros((6, 8), dtype=np.uint8)] * 3)
    with complains(path, "entry 0", "(3, width, height)", "(8, 6)"):
        open_dataset(f"imagenet-seg:{path}")


def test_h5py_is_imported_only_when_needed():
    code = "import sys, vitcam.evaluation.datasets as d; print(sorted({'h5py', 'pycocotools'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_which_class_is_explained_is_said(tmp_path, complains):
    with complains("explained must be one of predicted, labelled, any; got 'all'"):
        open_dataset(f"imagenet-seg:{tmp_path}", explained="all")
