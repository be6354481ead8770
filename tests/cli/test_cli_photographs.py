"""Which photographs ``vitcam explain`` takes, what it calls their files, and how it goes on after a bad one."""

import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from vitcam.cli.explaining.photographs import find_photographs, unique_names


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["cat.jpg", "dog.jpg"], ["cat", "dog"]),
        (["a/cat.jpg", "b/cat.jpg"], ["a-cat", "b-cat"]),
        (["a/cat.jpg", "a/cat.png"], ["a-cat", "a-cat-2"]),
        (["a/cat.jpg", "b/CAT.jpg"], ["a-cat", "b-CAT"]),
        (["a/b/x.jpg", "c/b/x.jpg", "d/b-x.jpg"], ["b-x", "b-x-2", "b-x-3"]),
        ([], []),
    ],
)
def test_names_are_unique(paths, names):
    assert unique_names([Path(path) for path in paths]) == names


def test_long_names_leave_room_for_endings():
    (name,) = unique_names([Path("é" * 120 + ".jpg")])
    assert name == "é" * 50


def test_each_photograph_is_found_once_however_it_is_named(photos, tmp_path, monkeypatch):
    shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.chdir(tmp_path)
    arguments = ["photos/cup.jpg", "photos", "photos/c*.jpg", "photos/../photos/cat.jpg"]
    found, missing = find_photographs(arguments, Path("out"))
    assert not missing
    assert [str(photo.path) for photo in found] == [
        "photos/cup.jpg",
        "photos/astronaut.jpg",
        "photos/cat.jpg",
        "photos/cat_and_cup.jpg",
    ]


def test_output_of_an_earlier_run_is_no_photograph(photos, tmp_path, monkeypatch):
    shutil.copy(photos / "cat.jpg", tmp_path)
    (tmp_path / "out").mkdir()
    shutil.copy(photos / "cup.jpg", tmp_path / "out" / "cat.panel.png")
    monkeypatch.chdir(tmp_path)
    found, _ = find_photographs(["."], Path("out"))
    assert [photo.path.name for photo in found] == ["cat.jpg"]
    found, _ = find_photographs(["out/cat.panel.png"], Path("out"))
    assert [photo.path.name for photo in found] == ["cat.panel.png"]


def test_same_stem_in_two_folders(vitcam, photos, tmp_path):
    for folder, photo in (("left", "cat"), ("right", "cup")):
        (tmp_path / folder).mkdir()
        shutil.copy(photos / f"{photo}.jpg", tmp_path / folder / "photo.jpg")
    out = tmp_path / "out"
    result = vitcam("explain", tmp_path / "left", tmp_path / "right", "-o", out)
    assert result.exit_code == 0, result.stderr
    images = manifest(out)["images"]
    assert [image["panel"] for image in images] == ["left-photo.panel.png", "right-photo.panel.png"]
    assert [image["predicted"][0]["name"] for image in images] == ["cat", "cup"]
    assert all((out / image["panel"]).is_file() for image in images)
    assert "left/photo.jpg" in result.stdout


def test_a_photograph_is_never_written_over(vitcam, photos, tmp_path):
    picture = Image.open(photos / "cat.jpg")
    picture.save(tmp_path / "cat.png")
    before = (tmp_path / "cat.png").read_bytes()
    assert vitcam("explain", tmp_path / "cat.png", "-o", tmp_path).exit_code == 0
    assert (tmp_path / "cat.png").read_bytes() == before


def test_bad_files_are_reported_and_skipped(vitcam, photos, tmp_path):
    shutil.copy(photos / "cat.jpg", tmp_path / "b.jpg")
    (tmp_path / "a.jpg").write_text("no picture")
    (tmp_path / "c.jpg").write_bytes((photos / "cat.jpg").read_bytes()[:9000])
    (tmp_path / "d.png").touch()
    shutil.copy(photos / "cup.jpg", tmp_path / "e [bold].jpg")
    out = tmp_path / "out"
    result = vitcam("explain", tmp_path, tmp_path / "gone.jpg", "-o", out)
    assert result.exit_code == 1
    for line in (
        f"Error: {tmp_path}/gone.jpg: there is no such file or folder.",
        f"Error: {tmp_path}/a.jpg is not an image that Pillow can read.",
        f"Error: {tmp_path}/d.png is empty (0 bytes); expected an image file.",
        "Error: 4 of 6 couldn't be explained, see above.",
    ):
        assert line in result.stderr.splitlines()
    assert f"Error: {tmp_path}/c.jpg can't be decoded (image file is truncated" in result.stderr
    images = manifest(out)["images"]
    assert [Path(image["file"]).name for image in images if "error" in image] == [
        "gone.jpg",
        "a.jpg",
        "c.jpg",
        "d.png",
    ]
    assert all(set(image) == {"file", "error"} for image in images if "error" in image)
    good = [image for image in images if "error" not in image]
    assert [image["predicted"][0]["name"] for image in good] == ["cat", "cup"]
    assert len(list(out.glob("*.panel.png"))) == 2
    assert "[bold]" in result.stdout


@pytest.mark.parametrize("photo", ["gone.jpg", "text.jpg"])
def test_nothing_is_written_when_nothing_could_be_explained(photo, vitcam, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    result = vitcam("explain", tmp_path / photo, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("Error: ") == 1
    assert not result.stdout
    assert not (tmp_path / "out").exists()


def test_rotated_photograph_is_explained_upright(vitcam, photos, tmp_path):
    upright = Image.open(photos / "cat.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert vitcam("explain", tmp_path / "turned.png", "-o", tmp_path / "out").exit_code == 0
    (image,) = manifest(tmp_path / "out")["images"]
    assert (image["width"], image["height"]) == upright.size
    assert image["predicted"][0]["name"] == "cat"


def test_what_never_ends_and_what_is_endlessly_long_is_named_and_the_others_are_explained(
    vitcam, photos, tmp_path
):
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(photos / "cat.jpg", folder / "b.jpg")
    shutil.copy(photos / "cup.jpg", folder / "y.jpg")
    os.mkfifo(folder / "a.jpg")
    (folder / "c.jpg").symlink_to("/dev/zero")
    (folder / "d.png").write_bytes(header(89_000_000, 1))
    (folder / "e.png").write_bytes(header(1, 40_000_000))
    for name, target in (("loop", "."), ("up", ".."), ("z.jpg", "b.jpg")):
        (folder / name).symlink_to(target)
    for number, argument in enumerate((folder, folder / "**" / "*")):
        out = tmp_path / f"out{number}"
        result = vitcam("explain", argument, "-o", out)
        assert result.exit_code == 1
        assert result.stderr.splitlines() == [
            f"Error: {folder}/a.jpg is a named pipe; expected an image file.",
            f"Error: {folder}/c.jpg is a device; expected an image file.",
            f"Error: {folder}/d.png is 89000000×1: its sides differ by more than 1,000 times. Cut it into pieces.",
            f"Error: {folder}/e.png is 1×40000000: its sides differ by more than 1,000 times. Cut it into pieces.",
            "Error: 4 of 6 couldn't be explained, see above.",
        ]
        images = manifest(out)["images"]
        assert [image["predicted"][0]["name"] for image in images if "error" not in image] == ["cat", "cup"]
        assert len(images) == 6


def header(width, height):
    """The beginning of a PNG of this size."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 999)),
    )
    chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
