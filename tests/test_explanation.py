"""An explanation as a sequence, moved, drawn, and kept in a folder."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

import vitcam
from vitcam.errors import ImageError, ModelError, NoSuchImageError, StoredError, TargetError, VitcamError
from vitcam.explaining import joining as module
from vitcam.images import Pictures
from vitcam.photos import photo_path
from vitcam.render import overlay
from vitcam.types import Box, TextToken


def picture(colour, size=(40, 30)):
    return Image.new("RGB", size, colour)


# Those whose other values would make this no explanation of classes of pictures.
DEFAULT = {"heatmaps", "kind", "answered", "direction"}


@pytest.fixture
def e():
    """Every field has a value of its own, different in each image."""
    whole = vitcam.Explanation(
        heatmaps=torch.arange(3 * 2 * 2 * 3).float().view(3, 2, 2, 3) / 7,
        targets=torch.tensor([[1, 0], [2, 1], [0, -1]]),
        logits=torch.tensor([[0.1, 1e-30, 3.0], [1 / 3, 2.0, -torch.inf], [0.0, -1.5, 7.0]]),
        method="attention(layer=2)",
        image_size=(20, 30),
        photographs=[picture("red"), picture("lime", (31, 17)), picture("blue")],
        class_names=("cat", "<b>cup</b>, mug", "\udcff 猫"),
        multi_label=True,
        region=(0.1, 1 / 3, 20.0, 29.5),
        names=("a/cat.jpg", "", "c\udcff.png"),
        versus=torch.tensor([[2, 2], [1, 0], [1, 1]]),
        score="probability",
        errors=torch.arange(3 * 2 * 2 * 3).float().view(3, 2, 2, 3) / 11,
        tiles=((0, 0, 20, 20), (10, 0, 30, 20)),
        tile_logits=torch.arange(3 * 2 * 3).float().view(3, 2, 3) / 13,
        bands=torch.arange(3 * 2 * 4).float().view(3, 2, 4) / 17,
        band_sizes=torch.arange(3 * 2 * 4).float().view(3, 2, 4) / 19,
        text=tuple(tuple((TextToken("ca\udcfft", 1 / 3 + i, 7 + t),) for t in range(2)) for i in range(3)),
    )
    defaults = {each.name: each.default for each in fields(whole)}
    assert all(
        getattr(whole, name) != default for name, default in defaults.items() if name not in DEFAULT
    ), "a new field: give it a value here"
    return whole


def assert_same(one, other):
    for each in fields(one):
        mine, its = getattr(one, each.name), getattr(other, each.name)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == its.dtype
            assert torch.equal(mine, its), each.name
        elif each.name == "photographs":
            assert [np.asarray(p).tolist() for p in mine] == [np.asarray(p).tolist() for p in its]
        else:
            assert mine == its, each.name
            assert type(mine) is type(its)


def test_one_image_of_several(e):
    assert len(e) == 3
    for i in (0, 1, 2, -1, np.int64(1), torch.tensor(2)):
        at = int(i) % 3
        one = e[i]
        assert len(one) == 1
        assert torch.equal(one.heatmaps, e.heatmaps[at : at + 1])
        assert torch.equal(one.targets, e.targets[at : at + 1])
        assert torch.equal(one.logits, e.logits[at : at + 1])
        assert one.names == (e.names[at],)
        assert one.photographs == [e.photographs[at]]
        assert (one.method, one.image_size, one.class_names) == (e.method, e.image_size, e.class_names)
        assert (one.multi_label, one.region) == (e.multi_label, e.region)
    assert e[0].heatmaps.data_ptr() == e.heatmaps.data_ptr()  # a view


@pytest.mark.parametrize(
    "which", [slice(2), slice(1, None), slice(None), slice(0, 3, 2), slice(None, None, -1), slice(2, 0, -1)]
)
def test_slices(e, which):
    some, order = e[which], [0, 1, 2][which]
    assert len(some) == len(order)
    for one, i in zip(some, order, strict=True):
        assert_same(one, e[i])
    assert_same(some, module.join([e[i] for i in order]))


def test_an_empty_slice_has_no_images_and_can_be_asked_for_all(e):
    for none in (e[3:], e[0:2:-1]):
        assert len(none) == 0
        assert none.upsampled().shape == (0, 2, 20, 30)
        assert none.boxes() == []
        assert list(none) == []


def test_iteration_and_unpacking(e):
    first, second, third = e
    assert [one.names[0] for one in (first, second, third)] == list(e.names)
    assert [one.label() for one in reversed(replace(e, versus=None))] == [
        "cat",
        "\udcff 猫",
        "<b>cup</b>, mug",
    ]


def test_there_is_no_such_image(e):
    for i in (3, -4):
        with pytest.raises(NoSuchImageError, match=f"there is no image {i}: this explanation has 3, counted"):
            e[i]
    assert issubclass(NoSuchImageError, IndexError)
    with pytest.raises(TypeError):
        e["cat"]
    with pytest.raises(TargetError, match="no image 1 with target 0"):
        e[0].overlay(1)


def test_slicing_opens_no_file(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it looks at one of each sequence
    opened = []
    photographs = Pictures([lambda i=i: opened.append(i) or picture("red") for i in range(3)])
    e = vitcam.Explanation(
        torch.zeros(3, 1, 2, 2), torch.zeros(3, 1).long(), None, "agcam", (4, 4), photographs
    )
    one = e[1:][0]
    assert module.join([e[2], one]).photographs
    assert opened == []
    assert one.logits is None
    one.overlay()
    assert opened == [1]


def test_repr_is_one_line(e):
    asked = ", versus another class, of a probability, 2 tiles"
    assert repr(e) == f"Explanation(attention(layer=2), 3 images × 2 targets{asked}, maps of 2×3)"
    plain = replace(e[0], versus=None, score="logit", tiles=())
    assert repr(plain) == "Explanation(attention(layer=2), 1 image × 2 targets, maps of 2×3)"
    elsewhere = replace(e, heatmaps=e.heatmaps.to("meta"))
    assert repr(elsewhere).endswith("maps of 2×3, on meta)")


def test_equality_is_identity(e):
    assert e == e
    assert e != replace(e)
    assert len({e, e, replace(e)}) == 2


def test_moves(e):
    assert_same(e.cpu(), e)
    assert_same(e.to(torch.device("cpu")), e)
    for name in ("meta", "nonsense"):
        with pytest.raises(ModelError, match=f"can't run on device '{name}'"):
            e.to(name)


def test_pickled(e):
    assert_same(pickle.loads(pickle.dumps(e)), e)


def test_an_overlays_opacity_colours_and_boxes(e):
    heat = e.upsampled((30, 40))[0, 1].numpy()
    plain = e.overlay(0, 1)
    assert list(plain.getdata()) == list(overlay(e.photographs[0], heat).getdata())
    other = e.overlay(0, 1, opacity=0.3, colormap="viridis")
    expected = overlay(e.photographs[0], heat, opacity=0.3, colormap="viridis")
    assert list(other.getdata()) == list(expected.getdata())
    (found,) = e.boxes(0.5)[0][1]
    photograph = [
        Box(found.left * 40 / 30, found.top * 30 / 20, found.right * 40 / 30, found.bottom * 30 / 20)
    ]
    outlined = list(overlay(e.photographs[0], heat, boxes=photograph).getdata())
    assert outlined != list(plain.getdata())
    for boxes in (True, 0.5, e.boxes(0.5)[0][1]):
        assert list(e.overlay(0, 1, boxes=boxes).getdata()) == outlined
    assert list(e.overlay(0, 1, boxes=0.9).getdata()) != outlined
    assert list(e.overlay(0, 1, boxes=()).getdata()) == list(plain.getdata())
    with pytest.raises(VitcamError, match=r"threshold must be within 0\.\.1"):
        e.overlay(boxes=1.5)
    with pytest.raises(VitcamError, match="no colour map 'jet'"):
        e.overlay(colormap="jet")


def test_a_folder_gives_back_what_was_saved(e, tmp_path):
    folder = tmp_path / "deep" / "er"
    e.save(folder)
    assert_same(vitcam.load(folder), e)
    assert_same(vitcam.load(str(folder)), e)
    assert_same(vitcam.load(folder)[1:], e[1:])
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".safetensors", ".png"}


@pytest.mark.parametrize("which", [slice(1, 2), slice(3, None)])
def test_parts_and_gaps_are_kept(e, tmp_path, which):
    some = replace(
        e[which],
        logits=None,
        class_names=None,
        region=None,
        names=(),
        multi_label=False,
        versus=None,
        score="logit",
    )
    some.save(tmp_path)
    assert_same(vitcam.load(tmp_path), some)


def test_what_the_model_saw_of_a_file_outlives_the_file(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_path("cup").read_bytes())
    e = vitcam.explain(vitcam.load_model("embedded:photo"), path, targets=["cat", "cup"])
    e.save(tmp_path / "saved")
    shown = e.overlay(0, 1)
    path.unlink()
    again = vitcam.load(tmp_path / "saved")
    assert_same(again, replace(e, photographs=again.photographs))
    assert again.overlay(0, 1).tobytes() == shown.tobytes()
    with pytest.raises(ImageError, match="no such file"):
        e.save(tmp_path / "saved")
    assert_same(vitcam.load(tmp_path / "saved"), again)


def test_saving_again_replaces_and_leaves_other_files(e, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    e.save(tmp_path)
    e[:1].save(tmp_path)
    assert_same(vitcam.load(tmp_path), e[:1])
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 4  # the manifest, the tensors, one photograph, and
    assert "notes.txt" in files


def test_interrupted_the_earlier_one_stays(e, tmp_path, monkeypatch):
    e.save(tmp_path)
    from vitcam.explaining import storing

    write = storing.write_whole
    for last in range(5):
        left = iter(range(last))

        def interrupted(path, content, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            write(path, content)

        monkeypatch.setattr(storing, "write_whole", interrupted)
        other = replace(
            e, heatmaps=e.heatmaps + 1, photographs=[picture("black", (5, 5 + i)) for i in range(3)]
        )
        with pytest.raises(KeyboardInterrupt):
            other.save(tmp_path)
        assert_same(vitcam.load(tmp_path), e)


def edit(folder, change):
    path = folder / "explanation.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_folder_that_holds_none_is_said_to_be_so(tmp_path):
    (tmp_path / "file").write_text("")
    for name, reason in (("gone", "doesn't exist"), ("file", "is a file"), (".", "expected a folder with")):
        with pytest.raises(StoredError, match=rf"there is no explanation in .*{reason}"):
            vitcam.load(tmp_path / name)
    for content, reason in (
        (b"{", "can't be read"),
        (b"\xff", "can't be read"),
        (b"[" * 100_000, "can't be read"),
        (b"[]", "isn't of an explanation"),
        (b'{"format": "vitcam run 1"}', "isn't of an explanation.*got 'vitcam run 1'"),
        (b'{"format": "vitcam explanation 2"}', "install a newer one"),
    ):
        (tmp_path / "explanation.json").write_bytes(content)
        with pytest.raises(StoredError, match=reason):
            vitcam.load(tmp_path)


def test_damaged_files_are_named(e, tmp_path):
    e.save(tmp_path)
    files = [next(tmp_path.glob("tensors.*")), *tmp_path.glob("photographs/*")]
    assert len(files) == 4
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(StoredError, match=rf"{path.name} is damaged: it has \d+ bytes of \d+"):
            vitcam.load(tmp_path)
        path.unlink()
        with pytest.raises(StoredError, match=f"{path.name} is missing"):
            vitcam.load(tmp_path)
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(StoredError, match=f"{path.name} was changed since"):
            [*vitcam.load(tmp_path).photographs]
        path.write_bytes(content)
    assert_same(vitcam.load(tmp_path), e)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.pop("tensors"), "is damaged"),
        (lambda m: m.update(photographs=5), "is damaged"),
        (
            lambda m: m["fields"].update(colour="red"),
            "holds 'colour', which this version of vitcam doesn't know",
        ),
        (lambda m: m["fields"].pop("method"), "'method' is missing"),
        (lambda m: m["tensors"].update(file="../../secret"), "names a file"),
        (lambda m: m["photographs"][0].update(sha256="../../secret"), "names a file"),
        (
            lambda m: m["photographs"][0].update(file="photographs/../../x.png", sha256="." * 64),
            "names a file",
        ),
    ],
)
def test_damaged_manifests_are_said_to_be_so(e, tmp_path, change, reason):
    e.save(tmp_path)
    edit(tmp_path, change)
    with pytest.raises(StoredError, match=reason):
        vitcam.load(tmp_path)


def test_a_manifest_of_others_deletes_nothing_elsewhere(e, tmp_path):
    folder = tmp_path / "saved"
    e.save(folder)
    (tmp_path / "mine.png").write_bytes(b"mine")
    edit(folder, lambda m: m["photographs"][0].update(file="photographs/../../mine.png"))
    e[:1].save(folder)
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    assert_same(vitcam.load(folder), e[:1])


def test_where_nothing_can_be_written(e, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VitcamError, match="it is a file, not a folder"):
        e.save(tmp_path / "file")
    assert Path(tmp_path / "file").read_text() == ""


def test_errors_go_with_their_images(e, tmp_path):
    assert torch.equal(e[1].errors, e.errors[1:2])
    assert torch.equal(e[::-1].errors, e.errors.flip(0))
    assert torch.equal(module.join([e[2], e[0]]).errors, e.errors[[2, 0]])
    replace(e, errors=None).save(tmp_path)
    assert vitcam.load(tmp_path).errors is None


def test_errors_of_another_shape_are_damaged(e, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would refuse to make it
    replace(e, errors=e.errors[..., :2].contiguous()).save(tmp_path)
    with pytest.raises(StoredError, match=r"its errors, \(3, 2, 2, 2\), aren't of the shape of its heatmaps"):
        vitcam.load(tmp_path)


@pytest.mark.parametrize("name", ["bands", "band_sizes", "tile_logits"])
def test_what_is_told_besides_of_another_shape_is_damaged(e, name, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    replace(e, **{name: getattr(e, name)[:, :1].contiguous()}).save(tmp_path)
    with pytest.raises(StoredError, match=rf"its {name}, \(3, 1, .\), don't fit \(3, 2\)"):
        vitcam.load(tmp_path)


def test_text_of_other_images_is_damaged(e, tmp_path):
    replace(e, text=e.text[:2]).save(tmp_path)
    with pytest.raises(StoredError, match="its text isn't that of its images"):
        vitcam.load(tmp_path)
