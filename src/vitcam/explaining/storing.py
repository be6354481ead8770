"""An explanation in a folder, and back.

``explanation.json`` says which files belong to it, and what they hold, to the byte. Files of tensors and pictures
are called by their content, so that a second explanation in the same folder overwrites none of the first before it
is all there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from vitcam.errors import StoredError
from vitcam.explaining.explanation import Explanation
from vitcam.images import Pictures
from vitcam.render.overlay import on_white
from vitcam.types import Answered, TextToken
from vitcam.writing import write_whole

MANIFEST = "explanation.json"
FORMAT = "vitcam explanation 1"
TENSORS = "tensors.{}.safetensors"
PHOTOGRAPH = "photographs/{}.png"
FASTEST = 1
"""Of zlib: photographs hardly get smaller by more of it."""


@dataclass(frozen=True)
class _Stored:
    """A file, as the manifest has it."""

    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        """Refuses what isn't called by its content, such as a path to elsewhere."""
        names = [name.format(self.sha256[:16]) for name in (TENSORS, PHOTOGRAPH)]
        if not re.fullmatch("[0-9a-f]{64}", self.sha256) or self.file not in names:
            raise ValueError(f"it names a file {self.file!r:.80}")


def save(explanation: Explanation, folder: str | os.PathLike[str]) -> None:
    """See :meth:`Explanation.save`."""
    place = Path(folder)
    before = _files_of(place)
    values = {each.name: getattr(explanation, each.name) for each in fields(Explanation)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    content = save_tensors({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    stored = _write(place, TENSORS, content)
    pictures = [_write(place, PHOTOGRAPH, _png(picture)) for picture in explanation.photographs]
    manifest = {
        "format": FORMAT,
        "tensors": asdict(stored),
        "photographs": [asdict(picture) for picture in pictures],
        "fields": {name: value for name, value in values.items() if name not in (*tensors, "photographs")},
    }
    write_whole(place / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    for file in before - {stored.file, *(picture.file for picture in pictures)}:
        with suppress(FileNotFoundError):
            (place / file).unlink()


def load(folder: str | os.PathLike[str]) -> Explanation:
    """The explanation that :meth:`Explanation.save` wrote into a folder, exactly as it was, on the CPU.

    Its photographs are read, each time, when they are asked for.

    Raises:
        StoredError: there is none, or a file of it is missing, truncated, changed, or of something else. A picture
            that was changed says so when it is asked for.

    Example:
        >>> e = vitcam.explain(photo_model, photo, targets=["cat", "cup"])
        >>> e.save("explained")
        >>> again = vitcam.load("explained")
        >>> torch.equal(again.heatmaps, e.heatmaps), again.label(0, 1)
        (True, 'cup')
    """
    place = Path(folder)
    manifest = _manifest(place)
    try:
        stored, pictures = (
            _Stored(**manifest["tensors"]),
            [_Stored(**each) for each in manifest["photographs"]],
        )
        values = {name: _as_tuples(value) for name, value in manifest["fields"].items()}
        values["answered"] = tuple(
            tuple(Answered(*each) for each in row) for row in values.get("answered", ())
        )
        values["text"] = tuple(
            tuple(tuple(TextToken(*each) for each in target) for target in row)
            for row in values.get("text", ())
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoredError(f"{place / MANIFEST} is damaged ({error}): save the explanation again") from error
    for picture in pictures:
        _check_size(place, picture)
    try:
        values |= load_tensors(_content(place, stored))
    except SafetensorError as error:
        raise StoredError(
            f"{place / stored.file} holds no tensors ({error}): save the explanation again"
        ) from error
    values["photographs"] = Pictures([partial(_picture, place, picture) for picture in pictures])
    _check_fields(values, place)
    return Explanation(**values)


def _manifest(place: Path) -> Mapping[str, Any]:
    path = place / MANIFEST
    if not path.is_file():
        what = (
            "" if place.is_dir() else f"{place} is a file; " if place.exists() else f"{place} doesn't exist; "
        )
        raise StoredError(
            f"there is no explanation in {place}: {what}expected a folder with {MANIFEST}, as Explanation.save "
            "writes it"
        )
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoredError(f"{path} can't be read ({error}): save the explanation again") from error
    form = manifest.get("format") if isinstance(manifest, dict) else None
    if form != FORMAT:
        newer = isinstance(form, str) and form.startswith(FORMAT.rstrip("1"))
        raise StoredError(
            f"{path} is of the format {form!r}, which this version of vitcam can't read: install a newer one"
            if newer
            else f"{path} isn't of an explanation: expected the format {FORMAT!r}, got {form!r:.80}"
        )
    return dict(manifest)


def _files_of(place: Path) -> set[str]:
    """The files of the explanation that is there now, if one is and can be read."""
    try:
        manifest = _manifest(place)
        return {_Stored(**each).file for each in (manifest["tensors"], *manifest["photographs"])}
    except (StoredError, KeyError, TypeError, ValueError):  # whose files these are isn't known: they stay
        return set()


def _write(place: Path, name: str, content: bytes) -> _Stored:
    digest = sha256(content).hexdigest()
    stored = _Stored(name.format(digest[:16]), digest, len(content))
    write_whole(place / stored.file, content)
    return stored


def _check_size(place: Path, stored: _Stored) -> None:
    path = place / stored.file
    if not path.is_file():
        raise StoredError(
            f"{path} is missing: it belongs to the explanation. Copy the whole folder, or save it again"
        )
    if (size := path.stat().st_size) != stored.bytes:
        raise StoredError(
            f"{path} is damaged: it has {size} bytes of {stored.bytes}. Copy it again, or save the explanation again"
        )


def _content(place: Path, stored: _Stored) -> bytes:
    _check_size(place, stored)
    path = place / stored.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoredError(f"{path} can't be read: {error.strerror}") from error
    if sha256(content).hexdigest() != stored.sha256:
        raise StoredError(
            f"{path} was changed since it was saved. Copy it again, or save the explanation again"
        )
    return content


def _picture(place: Path, stored: _Stored) -> Image.Image:
    with Image.open(BytesIO(_content(place, stored))) as picture:
        picture.load()
        return picture.copy()


def _png(picture: Image.Image) -> bytes:
    png = BytesIO()
    on_white(picture).save(png, "PNG", compress_level=FASTEST)
    return png.getvalue()


def _as_tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _check_fields(values: Mapping[str, Any], place: Path) -> None:
    known = {each.name: each for each in fields(Explanation)}
    if unknown := values.keys() - known.keys():
        raise StoredError(
            f"{place} holds {min(unknown)!r}, which this version of vitcam doesn't know: install a newer one"
        )
    needed = {name for name, each in known.items() if each.default is MISSING}
    if missing := needed - values.keys():
        raise StoredError(f"{place} is damaged: {min(missing)!r} is missing. Save the explanation again")
    if (versus := values.get("versus")) is not None and versus.shape != values["targets"].shape:
        raise StoredError(
            f"{place} is damaged: its targets, {tuple(values['targets'].shape)}, and what they are compared with, "
            f"{tuple(versus.shape)}, don't fit. Save the explanation again"
        )
    errors = values.get("errors")
    if errors is not None and errors.shape != values["heatmaps"].shape:
        raise StoredError(
            f"{place} is damaged: its errors, {tuple(errors.shape)}, aren't of the shape of its heatmaps, "
            f"{tuple(values['heatmaps'].shape)}. Save the explanation again"
        )
    images = values["heatmaps"].shape[:2]
    if (text := values.get("text")) and [len(row) for row in text] != [images[1]] * images[0]:
        raise StoredError(
            f"{place} is damaged: its text isn't that of its images. Save the explanation again"
        )
    for name, starts in (
        ("bands", images),
        ("band_sizes", images),
        ("tile_logits", (images[0], len(values.get("tiles", ())))),
    ):
        tensor = values.get(name)
        if tensor is not None and (tensor.dim() != 3 or tensor.shape[:2] != starts):
            raise StoredError(
                f"{place} is damaged: its {name}, {tuple(tensor.shape)}, don't fit {tuple(starts)}. Save the "
                "explanation again"
            )
    if values["heatmaps"].dim() != 2 + len(values["image_size"]) or values["targets"].shape != images:
        raise StoredError(
            f"{place} is damaged: its heatmaps, {tuple(values['heatmaps'].shape)}, and targets, "
            f"{tuple(values['targets'].shape)}, don't fit. Save the explanation again"
        )
