"""Opening and finding images: every kind that is handled, every kind that is refused, and in what words."""

from __future__ import annotations

import inspect
import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitcam.errors import ImageError
from vitcam.images import find_images, open_image


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def noise(height: int = 20, width: int = 30, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_a_photograph_is_opened_from_path_string_and_pil(tmp_path: Path) -> None:
    path = save(Image.fromarray(noise()), tmp_path / "photo.png")
    for source in (path, str(path), Image.open(path)):
        image = open_image(source)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), noise())


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_modes_are_converted_as_pillow_does(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(noise()).convert(mode)
    np.testing.assert_array_equal(np.asarray(open_image(image)), np.asarray(image.convert("RGB")))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "ink.jpg", quality=100)
    red, green, blue = open_image(path).getpixel((4, 4))  # type: ignore[misc]  # an RGB pixel
    assert red > 250
    assert green < 5
    assert blue < 5


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    path = save(Image.fromarray(values), tmp_path / f"deep{suffix}")
    np.testing.assert_array_equal(np.asarray(open_image(path))[0, :, 0], [0, 1, 128, 255])


def test_32_bit_modes_are_scaled_if_their_range_is_clear() -> None:
    ints = Image.fromarray(np.array([[0, 65535]], dtype=np.int32))
    floats = Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32))
    assert np.asarray(open_image(ints))[0, :, 0].tolist() == [0, 255]
    assert np.asarray(open_image(floats))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(ImageError, match=r"the PIL image F: its values go from 0 to 7; expected 0 to 1"):
        open_image(Image.fromarray(np.array([[0, 7]], dtype=np.float32)))
    with pytest.raises(ImageError, match=r"values go from 0 to 70000; expected 0 to 65535"):
        open_image(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    half_red = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    assert open_image(half_red).getpixel((0, 0)) == (255, 127, 127)
    assert open_image(half_red.convert("LA")).getpixel((0, 0)) == (165, 165, 165)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((1, 0), 1)
    path = save(palette, tmp_path / "cut.png", transparency=0)
    assert open_image(path).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(path).getpixel((1, 0)) == (255, 0, 0)


@pytest.mark.parametrize("open_or_find", [open_image, lambda path: find_images([path])])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://example.org/cat.jpg", "cat.jpg is an address; nothing is downloaded. Save the image"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA is an address"),
        (" ", "An image's path is empty"),
        ("a" * 5000, "a can't be looked up: File name too long"),
        ("cat\0.jpg", "cat\0.jpg: there is no such file"),
    ],
)
def test_what_is_no_path(path: str, message: str, open_or_find: Callable[[str], object]) -> None:
    with pytest.raises(ImageError, match=message):
        open_or_find(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((20, 40, 3), dtype=np.uint8)
    upright[:10, :10] = 255  # white in the top left corner
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    path = save(stored, tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_image(path)), upright)


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = save(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_image(path).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3)])
def test_arrays(shape: tuple[int, ...]) -> None:
    array = noise().reshape(-1)[: int(np.prod(shape))].reshape(shape)
    expected = np.broadcast_to(array.reshape(20, 30, -1), (20, 30, 3))
    np.testing.assert_array_equal(np.asarray(open_image(array)), expected)
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(np.asarray(open_image((array / 255).astype(dtype))), expected)


def test_an_array_with_alpha_is_laid_on_white() -> None:
    array = np.zeros((2, 2, 4), dtype=np.uint8)
    array[0, 0] = (255, 0, 0, 255)
    image = open_image(array)
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert image.getpixel((1, 1)) == (255, 255, 255)


def test_what_is_passed_in_stays_as_it_was() -> None:
    array = noise()
    before = array.copy()
    image = Image.fromarray(array)
    result = open_image(image)
    result.putpixel((0, 0), (1, 2, 3))
    assert np.asarray(image).tolist() == before.tolist()
    open_image(array).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 20, 30), np.uint8),
            r"got the uint8 array of shape \(3, 20, 30\)\. .*transpose\(1, 2, 0\)",
        ),
        (np.zeros((2, 20, 30, 3), np.uint8), r"shape \(2, 20, 30, 3\)\. Pass a batch as a list"),
        (np.zeros((20, 30, 2), np.uint8), r"height, width, 1, 3 or 4\), got the uint8 array"),
        (np.zeros(7, np.uint8), r"shape \(7,\)"),
        (np.zeros((20, 30), np.int64), r"uint8 or of floating point from 0 to 1, got the int64 array"),
        (np.zeros((20, 30), bool), r"got the bool array"),
        (np.zeros((0, 30, 3), np.uint8), r"has no pixels: it is 30×0"),
        (np.full((20, 30), np.nan), r"the float64 array of shape \(20, 30\): it has NaN or infinite"),
        (np.full((20, 30), 255.0), r"values go from 255 to 255; expected 0 to 1"),
        (np.full((20, 30), -0.5), r"values go from -0.5 to -0.5; expected 0 to 1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(array)


def test_other_objects_are_refused() -> None:
    with pytest.raises(
        ImageError,
        match="Expected an image's path, its bytes or an open file, a PIL image or a numpy array, got list",
    ):
        inspect.unwrap(open_image)([1, 2])  # past the type checks that tests run with


def test_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.jpg: there is no such file"):
        open_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="is a folder; expected an image file"):
        open_image(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg is empty \(0 bytes\)"):
        open_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.jpg is not an image that Pillow can read"):
        open_image(tmp_path / "text.jpg")


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "tiff", "bmp"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    whole = io.BytesIO()
    Image.fromarray(noise(100, 100)).save(whole, kind)
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(ImageError, match=rf"cut\.{kind}.*(truncated or damaged|not an image)"):
        open_image(path)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of much of the damage
def test_damaged_files_raise_nothing_but_image_errors(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    messages = {}
    for kind in ("jpeg", "png", "gif", "tiff", "bmp"):
        whole = io.BytesIO()
        Image.fromarray(noise()).save(whole, kind)
        for trial in range(40):
            broken = bytearray(whole.getvalue())
            for position in random.integers(0, len(broken), 8):
                broken[position] = random.integers(0, 256)
            path = tmp_path / f"{trial}.{kind}"
            path.write_bytes(broken)
            try:
                assert open_image(path).mode == "RGB"
            except ImageError as error:
                messages[path.name] = str(error)
    assert len(messages) > 50
    assert all(name in message for name, message in messages.items())


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes whose header announces a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999))
    )
    return path


@pytest.mark.parametrize("pillows_limit", [None, Image.MAX_IMAGE_PIXELS])
@pytest.mark.parametrize("edge", [10_000, 40_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_enormous_images_are_refused_whatever_pillows_own_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pillows_limit: int | None, edge: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"bomb\.png .*(more than 89,478,485 pixels|too large)"):
        open_image(bomb(tmp_path / "bomb.png", edge, edge))
    assert pillows_limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_pillows_bomb_warning_becomes_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"bomb\.png is too large"):
        open_image(bomb(tmp_path / "bomb.png", 10_000, 10_000))


def test_the_size_limit_can_be_chosen() -> None:
    assert open_image(np.zeros((10, 10), np.uint8), max_pixels=100).size == (10, 10)
    for source in (np.zeros((10, 11), np.uint8), Image.new("L", (11, 10))):
        with pytest.raises(ImageError, match=r"is 11×10: more than 100 pixels\. .*larger max_pixels"):
            open_image(source, max_pixels=100)
    with pytest.raises(ImageError, match="the PIL image RGB has no pixels: it is 0×5"):
        open_image(Image.new("RGB", (0, 5)))


def test_find_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.webp", ".hidden.jpg", ".cache/d.jpg", "odd[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)

    def names(*paths: str) -> list[str]:
        return [str(path) for path in find_images(paths)]

    assert names(".") == ["a.PNG", "b.jpg", "odd[1].jpg", "sub/c.webp"]
    assert names("sub", "b.jpg", ".") == ["sub/c.webp", "b.jpg", "a.PNG", "odd[1].jpg"]
    assert names("*.jpg") == ["b.jpg", "odd[1].jpg"]
    assert names("**/*") == ["a.PNG", "b.jpg", "odd[1].jpg", "sub/c.webp"]
    assert names("odd[1].jpg") == ["odd[1].jpg"]
    assert names("notes.txt") == ["notes.txt"]  # whoever names a file means it
    assert names(str(tmp_path / "s*" / "*")) == [str(tmp_path / "sub/c.webp")]
    assert names() == []


def test_find_images_says_what_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for path in (tmp_path, tmp_path / "*", tmp_path / "*.jpg"):
        with pytest.raises(ImageError, match=r"there is no image here \(looked for files ending in .*\.jpg"):
            find_images([str(path)])
    with pytest.raises(ImageError, match=r"gone\.jpg: there is no such file or folder"):
        find_images([str(tmp_path / "gone.jpg")])


def without_end(folder: Path) -> dict[str, str]:
    """What never ends when it is read, and other things with photographs' names that are none; and their kinds."""
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "socket.jpg"))
    (folder / "nowhere.jpg").symlink_to("gone.jpg")
    (folder / "self.jpg").symlink_to("self.jpg")
    return {
        "device.jpg": "is a device; expected an image file",
        "nowhere.jpg": "is a link to a file that isn't there",
        "pipe.jpg": "is a named pipe; expected an image file",
        "self.jpg": "can't be read: Too many levels of symbolic links",
        "socket.jpg": "is a socket; expected an image file",
    }


def test_what_is_no_file_is_found_and_refused_unread(tmp_path: Path) -> None:
    save(Image.fromarray(noise()), tmp_path / "cat.png")
    problems = without_end(tmp_path)
    for paths in ([str(tmp_path)], [str(tmp_path / "*.*")], [str(tmp_path / name) for name in problems]):
        found = find_images(paths)
        assert {file.name for file in found} - {"cat.png"} == set(problems)
    for name, problem in problems.items():
        with pytest.raises(ImageError, match=f"{tmp_path}/{name} {problem}"):
            open_image(tmp_path / name)


@pytest.mark.parametrize("what", [".", "**/*", "**/*.png", "*/*.png", "./**/**/*.png"])
def test_each_image_is_found_once_by_whatever_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        save(Image.fromarray(noise()), tmp_path / "photos" / f"{number}.png")
    for name, target in (("loop", "."), ("up", ".."), ("again", "../photos"), ("7.png", "0.png")):
        (tmp_path / "photos" / name).symlink_to(target)
    (tmp_path / "other").symlink_to("photos")
    assert [path.name for path in find_images([what])] == [f"{number}.png" for number in range(6)]
    assert len(find_images([what, "photos/7.png", "other"])) == 6


def test_a_folder_that_cannot_be_listed_is_not_left_out_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("private", "public"):
        (tmp_path / name).mkdir()
        save(Image.fromarray(noise()), tmp_path / name / "cat.png")
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "private":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_images([str(tmp_path)]) == [tmp_path / "private", tmp_path / "public" / "cat.png"]


@pytest.mark.parametrize("size", [(89_000_000, 1), (1, 40_000_000), (1001, 1), (3, 3004)])
def test_threads_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    path = bomb(tmp_path / "thread.png", *size)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(
        ImageError, match=rf"thread\.png is {size[0]}×{size[1]}: its sides differ by more than"
    ):
        open_image(path)


def test_long_strips_are_opened() -> None:
    assert open_image(np.zeros((3, 3000), np.uint8)).size == (3000, 3)


def test_no_memory_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.fromarray(noise()), tmp_path / "cat.png")

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(ImageError, match=r"cat\.png: there isn't enough memory"):
        open_image(save(Image.fromarray(noise()[:, :, 0]), tmp_path / "cat.png"))
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError, match=r"cat\.png: there isn't enough memory to open it"):
        open_image(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ImageError, match=r"cat\.png can't be read: Permission denied\.$"):
        open_image(save(Image.fromarray(noise()), tmp_path / "cat.png"))
