"""Large pictures: explained tile by tile, as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from vitcam.answers import AnswerKind
from vitcam.errors import ImageError
from vitcam.explaining.asked import Asked, Versus
from vitcam.explaining.batches import AnyModel, by_prompts, for_each_batch
from vitcam.explaining.explanation import Explanation
from vitcam.explaining.inputs import Batch, drawn, listed
from vitcam.explaining.joining import join
from vitcam.explaining.of_every_tile import OfEveryTile
from vitcam.explaining.stitching import stitched
from vitcam.explaining.targets import ClassIndex, Targets, as_indices, most_probable, score_of
from vitcam.explaining.tiles import (
    MAX_TILED_PIXELS,
    Place,
    TiledPicture,
    Tiles,
    sides_of,
    tile_places,
)
from vitcam.images import MAX_PIXELS, Pictures, open_image
from vitcam.inputs import PICTURE, takes_pictures
from vitcam.inputs.bands import chosen_bands
from vitcam.inputs.kind import Bands
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.open_files import content_of, is_open_file
from vitcam.recording import Need, Recording
from vitcam.types import Answered

Explain = Callable[..., list[Explanation]]
TILES_AT_A_TIME = 8


@dataclass(frozen=True)
class _Whole:
    """A large picture.

    Attributes:
        size: its (height, width).
        tiles: what goes through the model.
        photograph: makes the picture as it is drawn.
        name: of its file; None of a tensor.
    """

    size: tuple[int, int]
    tiles: TiledPicture
    photograph: Callable[[], Image.Image]
    name: str | None


def explain_tiles(
    explain: Explain,
    model: AnyModel,
    images: Any,
    targets: Targets,
    tiles: Tiles,
    *,
    versus: Versus,
    batch_size: int | None,
    kind: str | None,
    bands: Bands,
    **options: Any,
) -> list[Explanation]:
    """Explanations of pictures beyond the model's size, one for each method.

    Args:
        explain: from a model, images, targets and options to explanations, one for each method.
        model, images, targets, tiles, versus, batch_size, kind, bands: see :func:`vitcam.explain`.
        **options: its others.

    Raises:
        ImageError: tiles don't fit the picture or the model, a picture can't be read, or is too large, or not of the
            size of the others.
        TargetError: what is explained isn't the same in all tiles.
    """
    loaded, module = (model, model.module) if isinstance(model, LoadedModel) else (None, model)
    sides_of(tiles)
    if kind not in (None, PICTURE.name) or (isinstance(module, nn.Module) and not takes_pictures(module)):
        what = (
            f"this is a {kind}" if kind not in (None, PICTURE.name) else f"{type(module).__name__} takes none"
        )
        raise ImageError(f"tiles are cut from pictures, and {what}: leave tiles out")
    pictures = _pictures(images, loaded, module, tiles, bands)
    count = len(pictures)
    _refuse_inputs_of_each(options.get("inputs"), count)
    options |= {"batch_size": batch_size or TILES_AT_A_TIME, "kind": None, "bands": None}
    made: list[list[Explanation]] = []
    for number, open_one in enumerate(pictures):
        picture = open_one()
        if made and picture.size != made[0][0].image_size:
            raise ImageError(
                f"image {number} is {picture.size[0]} high and {picture.size[1]} wide, and the first "
                f"{made[0][0].image_size[0]} and {made[0][0].image_size[1]}: maps of pictures of several sizes can't "
                "stand in one explanation. Explain each by itself"
            )
        asked = _of_every_tile(Asked(targets, versus), number, count, model, picture.tiles, options)
        of_tiles = explain(model, picture.tiles, asked.targets, versus=asked.versus, **options)
        made.append([_of_whole(each, picture) for each in of_tiles])
    return [join(of_one_method) for of_one_method in zip(*made, strict=True)]


def _pictures(
    images: Any, loaded: LoadedModel | None, module: nn.Module, tiles: Tiles, bands: Bands
) -> Sequence[Callable[[], _Whole]]:
    if isinstance(images, Tensor):
        listed(images)
        if bands is not None:
            chosen_bands(images.shape[1], bands)
        return [partial(_of_tensor, each, tiles, bands) for each in images.as_subclass(Tensor)]
    if loaded is None:
        raise ImageError(
            "a bare nn.Module takes a normalised float tensor (batch, 3, height, width), of which tiles are cut too. "
            "For photographs use vitcam.load_model, or wrap yours: vitcam.wrap(model, vitcam.Preprocessing(...))"
        )
    if isinstance(images, dict) or hasattr(images, "keys"):
        raise ImageError(
            "tiles are cut from pictures or from a tensor, not from a dictionary: give its pixel_values, and the "
            "rest as inputs={…}"
        )
    return [partial(_of_photograph, each, loaded.preprocessing, tiles) for each in listed(images)]


def _of_tensor(tensor: Float[Tensor, "channels height width"], tiles: Tiles, bands: Bands) -> _Whole:
    height, width = tensor.shape[1:]

    def cut(place: Place) -> Tensor:
        left, top, right, bottom = place
        return tensor[:, top:bottom, left:right]

    cuts = TiledPicture(tile_places((height, width), tiles), cut)
    return _Whole((height, width), cuts, partial(drawn, PICTURE, tensor, bands), None)


def _of_photograph(source: Any, preprocessing: Preprocessing, tiles: Tiles) -> _Whole:
    kept = content_of(source) if is_open_file(source) else source
    picture = open_image(kept, max_pixels=MAX_TILED_PIXELS)
    high, wide, _ = sides_of(tiles)
    height, width = preprocessing.size
    if high * width != wide * height:
        raise ImageError(
            f"this model's pictures are {height} high and {width} wide: tiles of {high}×{wide} would be distorted. "
            f"Give tiles of this shape, such as tiles=({(height, width) if height != width else height}, "
            f"{min(height, width) // 8})"
        )
    # nothing of a tile is cropped, or there would be gaps
    prepare = replace(preprocessing, resize_mode="squash", resize=None)
    cuts = TiledPicture(
        tile_places((picture.height, picture.width), tiles), lambda place: prepare(picture.crop(place))
    )
    from_file = isinstance(kept, str | bytes | bytearray) or hasattr(kept, "__fspath__")
    photograph = partial(_opened_small, kept) if from_file else partial(_small, picture)
    name = str(kept) if from_file and not isinstance(kept, bytes | bytearray) else ""
    return _Whole((picture.height, picture.width), cuts, photograph, name)


def _opened_small(source: Any) -> Image.Image:
    """A file is read again when it is drawn, to spare memory."""
    return _small(open_image(source, max_pixels=MAX_TILED_PIXELS))


def _small(picture: Image.Image) -> Image.Image:
    """A picture that is drawn in parts of the memory that the whole one would take."""
    pixels = picture.width * picture.height
    return picture.reduce(isqrt((pixels - 1) // MAX_PIXELS) + 1) if pixels > MAX_PIXELS else picture


def _refuse_inputs_of_each(inputs: Any, count: int) -> None:
    for name, value in (inputs or {}).items():
        if count > 1 and isinstance(value, Tensor | list) and len(value) == count:
            raise ImageError(
                f"the input {name!r} has a row for each of {count} pictures, and goes through the model with tiles: "
                "explain the pictures one by one"
            )


def _of_every_tile(
    asked: Asked, number: int, count: int, model: AnyModel, tiles: TiledPicture, options: dict[str, Any]
) -> Asked:
    """What is asked of one of the pictures, the same of all its tiles."""
    if isinstance(asked.targets, AnswerKind):
        return replace(asked, targets=OfEveryTile(asked.targets))
    if by_prompts(model, asked.targets):
        return asked
    own = asked.part(number, 1, count)
    class_index = model.class_index if isinstance(model, LoadedModel) else None
    spread = partial(_of_each, len(tiles), class_index)
    if not _asks_of_logits(own.targets):
        return replace(own, targets=spread(own.targets), versus=spread(own.versus))
    mean = _mean_logits(model, tiles, options)
    choose = score_of(own.targets, 1, class_index).choose
    assert choose is not None  # of what is no function
    return replace(own, targets=choose(mean).expand(len(tiles), -1), versus=spread(own.versus))


def _of_each(tiles: int, class_index: ClassIndex | None, given: Any) -> Any:
    """The classes of one picture, a row for each tile; what is one for all of them, or a function, as it is."""
    is_function = callable(given) and not isinstance(given, Tensor)
    if given is None or is_function or isinstance(given, int | str):
        return given
    return as_indices(given, 1, class_index).expand(tiles, -1)


def _asks_of_logits(targets: Targets) -> bool:
    """Whether it is by the logits which classes are meant."""
    return targets is None or (isinstance(targets, str) and most_probable(targets) is not None)


def _mean_logits(model: AnyModel, tiles: TiledPicture, options: dict[str, Any]) -> Float[Tensor, "1 classes"]:
    passed = {
        key: options[key] for key in ("batch_size", "device", "precision", "inputs", "given", "compile")
    }

    def logits(recording: Recording, batch: Batch, loaded: LoadedModel | None) -> Tensor:
        assert recording.logits is not None  # where there are none, the predicted class is refused before
        return recording.logits.float().cpu()

    found = for_each_batch(logits, model, tiles, None, Need.NOTHING, **passed)
    return torch.cat(found).mean(dim=0, keepdim=True)


def _of_whole(of_tiles: Explanation, picture: _Whole) -> Explanation:
    """The explanation of a picture, from that of its tiles."""
    places = picture.tiles.places
    high, wide = places[0][3] - places[0][1], places[0][2] - places[0][0]
    seen = of_tiles.image_size
    region = of_tiles.region or (0.0, 0.0, float(seen[0]), float(seen[1]))
    down, across = high / seen[0], wide / seen[1]
    covered = (region[0] * down, region[1] * across, region[2] * down, region[3] * across)
    heatmap, laid = stitched(of_tiles.heatmaps, places, covered)
    errors = None if of_tiles.errors is None else stitched(of_tiles.errors, places, covered, errors=True)[0]
    scores, answered = _scores(of_tiles)
    return replace(
        of_tiles,
        heatmaps=heatmap[None],
        targets=of_tiles.targets[:1],
        logits=None if of_tiles.logits is None else of_tiles.logits.mean(dim=0, keepdim=True),
        image_size=picture.size,
        photographs=Pictures([picture.photograph]),
        region=None if laid == (0.0, 0.0, *map(float, picture.size)) else laid,
        names=() if picture.name is None else (picture.name,),
        versus=None if of_tiles.versus is None else of_tiles.versus[:1],
        errors=None if errors is None else errors[None],
        answered=answered,
        tiles=places,
        tile_logits=None if scores is None else scores[None],
        bands=None if of_tiles.bands is None else of_tiles.bands.mean(dim=0, keepdim=True),
        band_sizes=None if of_tiles.band_sizes is None else of_tiles.band_sizes.mean(dim=0, keepdim=True),
    )


def _scores(of_tiles: Explanation) -> tuple[Tensor | None, tuple[tuple[Answered, ...], ...]]:
    """The logits of each tile, or what answers of another kind were; and the answer for all of them."""
    if not of_tiles.answered:
        return of_tiles.logits, ()
    values = torch.tensor([[each.value for each in row] for row in of_tiles.answered])
    means = values.mean(dim=0).tolist()
    rows = zip(of_tiles.answered[0], means, strict=True)
    return values, (tuple(one._replace(value=mean, note=f"{mean:.4g}") for one, mean in rows),)
