"""Frames of videos, and of animated pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vitcam.errors import ImageError
from vitcam.images import MAX_PIXELS, known_formats, open_image
from vitcam.inputs.files import Files, checked_path, in_words, reader

ANIMATIONS = frozenset({".apng", ".gif", ".webp"})
"""What Pillow reads."""

ANIMATED = ("GIF", "PNG", "WEBP")
"""By its names."""

VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"})
"""What PyAV reads."""

FILES = Files("videos", ANIMATIONS | VIDEOS)

CONTAINERS = "asf,avi,m4v,matroska,webm,mov,mp4,mpeg,mpegts,mpegvideo,ogg"
"""By FFmpeg's names. It reads lists of other files, too, whatever the names of these lists are."""

MAX_FRAMES = 20_000

REACHED = 0.9
"""The part of its announced duration that a whole file has at least: sound and pictures seldom end together."""

ALONE = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}

Choose = Callable[[int], Sequence[int]]
"""From the number of frames to the numbers of those that are wanted, in their order."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a video.

    Attributes:
        frames: upright, RGB.
        numbers: which of the file's frames they are, counted from 0.
        total: how many there are in the file.
        path: of the file.
    """

    frames: Sequence[Image.Image]
    numbers: Sequence[int]
    total: int
    path: Path

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a frame."""
        return self.frames[0].size


def read_clip(
    source: Any,
    choose: Choose,
    max_frames: int = MAX_FRAMES,
    max_pixels: int = MAX_PIXELS,
    max_decoded: int = MAX_FRAMES * MAX_PIXELS,
) -> Clip:
    """Some of the frames of a video (by PyAV), or of an animated GIF, PNG or WebP (by Pillow).

    The frames are counted before any is decoded, by the number in the file, not by its clock: where a camera has
    left frames out, what is chosen evenly isn't even in time.

    Args:
        source: the file's path.
        choose: which frames are wanted.
        max_frames: longer videos are refused before they are decoded.
        max_pixels: likewise those of larger frames.
        max_decoded: likewise those of more pixels in all frames together.

    Raises:
        ImageError: there is no such file, it is no video, truncated or damaged, too long or too large, has a single
            frame, or PyAV isn't installed.

    Example:
        >>> frames = [Image.new("RGB", (8, 6), (40 * n, 0, 0)) for n in range(5)]
        >>> frames[0].save("clip.gif", save_all=True, append_images=frames[1:])
        >>> clip = read_clip("clip.gif", lambda total: [0, total - 1])
        >>> clip.numbers, clip.total, clip.size
        ([0, 4], 5, (8, 6))
    """
    path = checked_path(source, *FILES)
    read = _of_animation if path.suffix.lower() in ANIMATIONS else _of_video
    return read(path, choose, _Most(max_frames, max_pixels, max_decoded))


@dataclass(frozen=True)
class _Most:
    """See :func:`read_clip`."""

    frames: int
    pixels: int
    decoded: int

    def check(self, path: Path, width: int, height: int, frames: int) -> None:
        """Refuses a video of more; as long as the number of its frames isn't known, it is 0."""
        if width * height == 0:
            raise ImageError(f"{path} has no pixels: its frames are {width}×{height}")
        if width * height > self.pixels:
            raise ImageError(
                f"{path} has frames of {width}×{height}: more than {self.pixels:,} pixels. Make it smaller"
            )
        if frames > self.frames:
            raise ImageError(f"{path} has more than {self.frames:,} frames. {_CUT}")
        if frames * width * height > self.decoded:
            raise ImageError(
                f"{path} has more than {self.decoded:,} pixels in all its frames of {width}×{height}. Make it "
                f"smaller. {_CUT}"
            )


_CUT = "Cut out what is to be explained, for example by ffmpeg -ss START -t SECONDS -i FILE PART"


def _of_animation(path: Path, choose: Choose, most: _Most) -> Clip:
    with (
        in_words(path, "an animation"),
        Image.open(path, formats=known_formats(ANIMATED)) as animation,
    ):
        most.check(path, *animation.size, 0)
        total = getattr(animation, "n_frames", 1)
        most.check(path, *animation.size, total)
        numbers = list(choose(_several(path, total)))
        found: dict[int, Image.Image] = {}
        for number in sorted(set(numbers)):
            animation.seek(number)
            found[number] = open_image(animation, max_pixels=most.pixels)
    return Clip([found[number] for number in numbers], numbers, total, path)


def _of_video(path: Path, choose: Choose, most: _Most) -> Clip:
    av = reader("av", "video", "videos")
    with in_words(path, "a video"):
        with av.open(str(path), options=ALONE) as container:
            total = _counted(container, path, most)
        numbers = list(choose(_several(path, total)))
        wanted, found = set(numbers), {}
        with av.open(str(path), options=ALONE) as container:
            for number, frame in enumerate(container.decode(container.streams.video[0])):
                # which may change in the midst of a file
                most.check(path, frame.width, frame.height, number + 1)
                if number in wanted:
                    if frame.is_corrupt:
                        raise ImageError(f"{path} is damaged: its frame {number} can't be decoded whole")
                    found[number] = _upright(frame)
                if len(found) == len(wanted):
                    break
    if missing := wanted - found.keys():
        raise ImageError(
            f"{path} is truncated or damaged: of its {total} frames, frame {min(missing)} can't be decoded"
        )
    return Clip([found[number] for number in numbers], numbers, total, path)


def _counted(container: Any, path: Path, most: _Most) -> int:
    """The number of frames, by what the file holds, which its header may be wrong about. None is decoded."""
    if not container.streams.video:
        raise ImageError(f"{path} holds no pictures: expected a video")
    stream = container.streams.video[0]
    most.check(path, stream.width, stream.height, stream.frames)
    total, end = 0, 0.0
    for packet in container.demux():
        if packet.is_corrupt:
            raise ImageError(f"{path} is truncated or damaged: a part of it is missing")
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is stream and packet.size and not packet.is_discard:
            total += 1
            most.check(path, stream.width, stream.height, total)
    start = (container.start_time or 0) / 1_000_000
    announced = (container.duration or 0) / 1_000_000
    if end - start < REACHED * announced:
        raise ImageError(
            f"{path} is truncated: it is said to last {announced:.1f} s, and ends after {end - start:.1f} s"
        )
    return total


def _several(path: Path, total: int) -> int:
    if total < 2:
        raise ImageError(
            f"{path} has {total or 'no'} frame{'' if total else 's'}; expected a video of several"
        )
    return total


def _upright(frame: Any) -> Image.Image:
    """As it is to be shown: cameras write how they were held, and leave the turning to whoever shows it."""
    picture: Image.Image = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
