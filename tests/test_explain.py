"""``explain`` and ``compare`` as users call them, on the embedded model and the shipped photographs."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import vitcam
from families import images_of, model_of
from vitcam.errors import ImageError, TargetError, VitcamError
from vitcam.images import open_image
from vitcam.photos import photo_path


@pytest.fixture(scope="module")
def photo():
    return vitcam.load_model("embedded:photo")


def share_in(heatmap, rows):
    """How much of a heatmap's sum lies within some of its rows."""
    return (heatmap[rows].sum() / heatmap.sum()).item()


def test_class_specific_maps_move_from_one_object_to_the_other(photo):
    e = vitcam.explain(photo, photo_path("cat_and_cup"), targets=["cat", "cup"])
    assert [e.label(0, 0), e.label(0, 1)] == ["cat", "cup"]
    upper, lower = slice(0, 6), slice(6, 12)
    assert share_in(e.heatmaps[0, 0], upper) > 0.7
    assert share_in(e.heatmaps[0, 1], lower) > 0.6


@pytest.mark.parametrize(
    "image",
    [
        lambda path: path,
        lambda path: str(path),
        lambda path: [path],
        lambda path: Image.open(path),
        lambda path: np.asarray(Image.open(path)),
    ],
    ids=["path", "str", "list", "PIL", "array"],
)
def test_any_kind_of_image(photo, image):
    path = photo_path("cup")
    tensor = photo.preprocess([path])
    expected = vitcam.explain(photo, tensor)
    e = vitcam.explain(photo, image(path))
    torch.testing.assert_close(e.heatmaps, expected.heatmaps)
    assert e.label() == "cup"
    assert e.photographs[0].size == (600, 400)


def test_paths_in_batches_equal_one_batch(photo):
    paths = [photo_path(name) for name in ("cat", "cup", "astronaut")]
    whole = vitcam.explain(photo, paths, targets=["cat", "cup", "face"])
    parts = vitcam.explain(photo, paths, targets=["cat", "cup", "face"], batch_size=2)
    torch.testing.assert_close(parts.heatmaps, whole.heatmaps, rtol=1e-4, atol=1e-5)
    assert torch.equal(parts.targets, whole.targets)
    assert len(parts.photographs) == 3


def test_pictures_of_files_are_made_when_asked_for(photo, tmp_path):
    path = Image.new("RGB", (90, 60), "red").save(tmp_path / "red.png") or tmp_path / "red.png"
    e = vitcam.explain(photo, [path, photo_path("cup"), Image.new("RGB", (50, 40))], batch_size=2)
    assert [picture.size for picture in e.photographs] == [(90, 60), (600, 400), (50, 40)]
    assert [picture.size for picture in e.photographs[1:]] == [(600, 400), (50, 40)]
    path.unlink()
    with pytest.raises(ImageError, match=r"red\.png: there is no such file"):
        e.overlay(0)


def test_one_picture_several_times(photo):
    picture = Image.open(photo_path("cup"))  # not loaded yet
    e = vitcam.explain(photo, [picture] * 9)
    expected = vitcam.explain(photo, photo_path("cup"))
    torch.testing.assert_close(e.heatmaps, expected.heatmaps.expand(9, -1, -1, -1))


def test_targets_by_index_name_top_sequence_tensor_and_function(photo):
    images = photo.preprocess([photo_path("cat"), photo_path("cup")])
    cat, cup = photo.class_index("cat"), photo.class_index("cup")
    explain = lambda targets: vitcam.explain(photo, images, targets=targets)  # noqa: E731 # a shorthand
    by_index = explain(cat)
    assert by_index.targets.tolist() == [[cat], [cat]]
    assert torch.equal(explain("Cat").heatmaps, by_index.heatmaps)
    assert explain(["cat", cup]).targets.tolist() == [[cat], [cup]]
    assert explain(torch.tensor([[cat, cup], [cup, cat]])).targets.tolist() == [[cat, cup], [cup, cat]]
    top = explain("top3")
    assert torch.equal(top.targets, top.logits.topk(3).indices)
    by_function = explain(lambda logits: logits[:, [cat, cup]])
    assert by_function.targets.tolist() == [[-1, -1], [-1, -1]]
    torch.testing.assert_close(by_function.heatmaps[:, :1], by_index.heatmaps)
    assert by_function.label(0, 1) == "score 1"


def test_several_targets_of_one_image_are_those_of_one_each(photo):
    image = photo_path("cat_and_cup")
    both = vitcam.explain(photo, image, targets=["cat", "cup"])
    for t, name in enumerate(["cat", "cup"]):
        torch.testing.assert_close(
            both.heatmaps[:, t], vitcam.explain(photo, image, targets=name).heatmaps[:, 0]
        )


def test_unknown_class_name_suggests_the_nearest(photo):
    with pytest.raises(TargetError, match=r"elefant.*elephant"):
        vitcam.explain(photo, photo_path("cat"), targets="elefant")


def test_compare_shares_the_forward_pass(photo):
    images = photo.preprocess([photo_path("cat")])
    calls = []
    handle = photo.module.patch_embed.register_forward_hook(lambda module, args, output: calls.append(output))
    vitcam.explain(photo, images)  # what must be found out first is found out
    calls.clear()
    both = vitcam.compare(
        photo, images, ["agcam", "rollout", "attention(layer=2)", "random", "center"], "top2"
    )
    handle.remove()
    assert len(calls) == 2  # the pass, and the replay on the class token
    assert list(both) == ["agcam", "rollout", "attention(layer=2)", "random", "center"]
    for name, explanation in both.items():
        assert explanation.method == name
        alone = vitcam.explain(photo, images, method=name, targets="top2")
        torch.testing.assert_close(explanation.heatmaps, alone.heatmaps)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", ["agcam", "rollout", "gae", "gradcam"])
def test_lower_precision_gives_the_same_picture(photo, precision, method):
    paths = [photo_path("cat"), photo_path("cup")]
    full = vitcam.explain(photo, paths, method, targets=["cat", "cup"])
    low = vitcam.explain(photo, paths, method, targets=["cat", "cup"], precision=precision)
    assert low.heatmaps.dtype == low.logits.dtype == torch.float32
    assert not torch.equal(low.logits, full.logits)
    for one, other in zip(full.heatmaps[:, 0], low.heatmaps[:, 0], strict=True):
        ranks = torch.stack([one.flatten().argsort().argsort(), other.flatten().argsort().argsort()]).float()
        assert torch.corrcoef(ranks)[0, 1] > 0.99


def test_any_size_the_model_takes_also_not_square(photo):
    e = vitcam.explain(photo.module, torch.randn(1, 3, 112, 168))
    assert e.heatmaps.shape == (1, 1, 8, 12)
    assert e.upsampled().shape == (1, 1, 112, 168)


def test_upsampled_is_bilinear_then_min_max(photo):
    e = vitcam.explain(photo, photo_path("cat"), targets="top2")
    expected = F.interpolate(e.heatmaps, size=(50, 70), mode="bilinear", align_corners=False)
    torch.testing.assert_close(e.upsampled((50, 70), normalize=False), expected)
    maps = e.upsampled()
    assert maps.shape == (1, 2, 168, 168)
    assert torch.equal(maps.amin((2, 3)), torch.zeros(1, 2))
    assert torch.equal(maps.amax((2, 3)), torch.ones(1, 2))


def test_boxes_are_in_pixels_of_the_asked_size(photo):
    e = vitcam.explain(photo, photo_path("cup"), targets="cup")
    ((boxes,),) = e.boxes()
    assert boxes
    assert all(0 <= b.left < b.right <= 168 and 0 <= b.top < b.bottom <= 168 for b in boxes)
    (((large, *_),),) = e.boxes(size=(400, 600))
    assert large.right > 168
    with pytest.raises(VitcamError, match="threshold must be within"):
        e.boxes(threshold=50)


def test_overlay_is_a_picture_at_the_photographs_resolution(photo):
    e = vitcam.explain(photo, photo_path("cup"))
    assert e.overlay().size == (600, 400)
    assert e.overlay(-1, -1).tobytes() == e.overlay(0, 0).tobytes()
    with pytest.raises(TargetError, match="no image 1 with target 0"):
        e.overlay(1)


def test_overlay_of_a_bare_tensor():
    e = vitcam.explain(model_of("timm vit"), images_of("timm vit"))
    assert e.overlay(2).size == (224, 224)
    assert e.label() == f"class {int(e.targets[0, 0])}"


def test_one_bad_path_is_named(photo, tmp_path):
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"\xff\xd8 not really")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        vitcam.explain(photo, [photo_path("cat"), bad])


def test_empty_list_and_bad_batch_size(photo):
    with pytest.raises(ImageError, match="no images"):
        vitcam.explain(photo, [])
    with pytest.raises(ImageError, match="batch_size must be a whole number of 1 or more"):
        vitcam.explain(photo, photo_path("cat"), batch_size=0)


def test_threads_that_share_a_model_take_turns(photo):
    names = ["cat", "cup", "astronaut"] * 4
    expected = {name: vitcam.explain(photo, photo_path(name)).heatmaps for name in set(names)}

    def explain(name):
        return name, vitcam.explain(photo, photo_path(name)).heatmaps

    with ThreadPoolExecutor(4) as pool:
        for name, heatmaps in pool.map(explain, names):
            torch.testing.assert_close(heatmaps, expected[name])


def test_prompts_are_the_classes_of_a_clip_model():
    clip = vitcam.load_model("open_clip:ViT-B-32", pretrained=False)
    prompts = ["a photo of a cat", "a photo of a cup"]
    e = vitcam.explain(clip, [photo_path("cat"), photo_path("cup")], targets=prompts)
    assert e.heatmaps.shape == (2, 2, 7, 7)
    assert e.logits.shape == (2, 2)
    assert [e.label(1, 0), e.label(1, 1)] == prompts
    for targets in (None, "top2"):
        with pytest.raises(TargetError, match="no classes of its own: give text prompts"):
            vitcam.explain(clip, photo_path("cat"), targets=targets)
    asked = vitcam.explain(clip.with_prompts(prompts), photo_path("cat"), targets=[0, 1])
    torch.testing.assert_close(asked.heatmaps, e.heatmaps[:1])
    maps = vitcam.decompose(clip, photo_path("cat"), targets=prompts).maps
    torch.testing.assert_close(maps.sum(dim=(2, 3)), e.heatmaps[:1])


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["agcam", "gae", "gradcam", "legrad", "lrp"])
def test_gradients_that_the_caller_switched_off_do_not_matter(off, method):
    model, images = model_of("timm vit"), images_of("timm vit", 1)
    expected = vitcam.explain(model, images, method)
    with off():
        torch.testing.assert_close(vitcam.explain(model, images + 0, method).heatmaps, expected.heatmaps)
        assert not torch.is_grad_enabled()


def save_photos(folder):
    for name, target in (("cat", "b/2.jpg"), ("cup", "a.jpg"), ("astronaut", "b/1.JPG")):
        (folder / target).parent.mkdir(exist_ok=True, parents=True)
        (folder / target).write_bytes(photo_path(name).read_bytes())
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_bytes(photo_path("cat").read_bytes())
    return folder


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_folder_is_all_images_in_it(photo, tmp_path, as_path):
    folder = save_photos(tmp_path / "photos")
    e = vitcam.explain(photo, as_path(folder), batch_size=2)
    assert e.names == tuple(str(folder / name) for name in ("a.jpg", "b/1.JPG", "b/2.jpg"))
    assert [one.label() for one in e] == ["cup", "face", "cat"]
    assert [one.photographs[0].size for one in e] == [one.size for one in e.photographs]
    assert e[1].names == (str(folder / "b/1.JPG"),)


def test_patterns_and_mixed_lists(photo, tmp_path, monkeypatch):
    save_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    assert vitcam.explain(photo, "photos/**/*.jp*g").names == ("photos/a.jpg", "photos/b/2.jpg")
    picture = Image.open(photo_path("cup"))
    e = vitcam.explain(photo, ["photos/b", picture, Path("photos/a.jpg"), "photos/a.jpg"])
    assert e.names == ("photos/b/1.JPG", "photos/b/2.jpg", "", "photos/a.jpg", "photos/a.jpg")
    labels = [["face"], ["cat"], ["cup"], ["cup"], ["cup"]]
    e = vitcam.explain(photo, ["photos/b", picture, "photos/a.jpg", "photos/a.jpg"], targets=labels)
    assert [one.label() for one in e] == ["face", "cat", "cup", "cup", "cup"]
    both = vitcam.compare(photo, "photos", ["agcam", "center"], batch_size=2)
    assert both["center"].names == both["agcam"].names
    assert len(vitcam.decompose(photo, "photos").maps) == 3


def test_a_file_with_signs_of_a_pattern_is_a_file(photo, tmp_path):
    path = tmp_path / "cat[1]*.jpg"
    path.write_bytes(photo_path("cat").read_bytes())
    (tmp_path / "cat1.jpg").write_bytes(b"")
    assert vitcam.explain(photo, str(path)).names == (str(path),)


def test_folders_without_images_and_files_that_are_none(photo, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    for what, reason in (
        (tmp_path / "empty", "there is no image here"),
        (tmp_path / "*.png", "there is no image here"),
        (tmp_path / "gone.jpg", "there is no such file"),
        (tmp_path, r"bad\.jpg is not an image that Pillow can read"),
        ("https://example.org/cat.jpg", "is an address; nothing is downloaded"),
        ("", "An image's path is empty"),
        ([tmp_path / "empty", photo_path("cat")], "there is no image here"),
    ):
        for path in (what, str(what)) if isinstance(what, Path) else (what,):
            with pytest.raises(ImageError, match=reason):
                vitcam.explain(photo, path)


@pytest.mark.parametrize("kind", [bytes, bytearray, io.BytesIO])
def test_bytes_and_open_files(photo, kind):
    content = kind(photo_path("cup").read_bytes())
    expected = vitcam.explain(photo, photo_path("cup"))
    for images in (content, [content, content]):
        e = vitcam.explain(photo, images)
        torch.testing.assert_close(e.heatmaps, expected.heatmaps.expand(len(e), -1, -1, -1))
        assert e.photographs[0].tobytes() == expected.photographs[0].tobytes()
        assert set(e.names) == {""}
    torch.testing.assert_close(photo.preprocess(content), photo.preprocess(photo_path("cup")))


def test_an_open_file_is_read_from_its_beginning_and_left_where_it_was(photo):
    expected = vitcam.explain(photo, photo_path("cup"))
    with photo_path("cup").open("rb") as file:
        file.seek(100)
        e = vitcam.explain(photo, file)
        assert file.tell() == 100
    torch.testing.assert_close(e.heatmaps, expected.heatmaps)
    assert e.overlay().tobytes() == expected.overlay().tobytes()  # though it is closed by now


def test_a_stream_that_cannot_be_wound_back(photo):
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as made:
        made.writestr("cup.jpg", photo_path("cup").read_bytes())
    with zipfile.ZipFile(archive) as made, made.open("cup.jpg") as file:
        file.seekable = lambda: False
        assert vitcam.explain(photo, file).label() == "cup"


def test_open_files_that_hold_no_photograph(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users call it
    text = tmp_path / "text.txt"
    text.write_text("no image")
    with text.open() as file:
        for opened in (file, io.StringIO("text")):
            with pytest.raises(ImageError, match=r"is open for reading text: open it by open\(path, 'rb'\)"):
                open_image(opened)
    closed = text.open("rb")
    closed.close()
    for images, reason in (
        (closed, r"text\.txt can't be read: .*closed file"),
        (io.BytesIO(), r"empty \(0 bytes\)"),
        (b"", r"the image of 0 bytes is empty"),
        (b"no image", "the image of 8 bytes is not an image that Pillow can read"),
        (photo_path("cup").read_bytes()[:9000], "the image of 9,000 bytes can't be decoded.*truncated"),
        (io.BytesIO(b"no image"), "the image of 8 bytes is not an image"),
    ):
        with pytest.raises(ImageError, match=reason):
            vitcam.explain(photo, images)
    monkeypatch.setattr("vitcam.open_files.MAX_BYTES", 100)
    with pytest.raises(ImageError, match="the open BytesIO has more than 100 bytes"):
        vitcam.explain(photo, io.BytesIO(bytes(101)))


def test_a_bare_module_takes_no_folder(photo, tmp_path):
    with pytest.raises(ImageError, match=r"a bare nn\.Module takes a normalised float tensor"):
        vitcam.explain(photo.module, save_photos(tmp_path))
