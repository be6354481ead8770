"""One figure of images × classes × methods: what the command line writes and notebooks show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from PIL import Image

from vitcam.errors import VitcamError
from vitcam.explaining.bands import COLOURS, names_of
from vitcam.explaining.explanation import Explanation
from vitcam.images import MAX_PIXELS
from vitcam.inputs import KINDS
from vitcam.printable import percent
from vitcam.render import Cell, panel, thumbnail
from vitcam.render.colors import DEFAULT_COLORMAP
from vitcam.render.overlay import DEFAULT_OPACITY
from vitcam.render.panel import TILE

MAX_DRAWN = 2**22
"""Pixels of a map that is drawn: more can't be seen in a figure, and take memory."""

COLUMNS = 5
"""Classes of one method that stand beside each other; more go on below."""

Explanations = Explanation | Mapping[str, Explanation] | Sequence[Explanation]
Methods = Mapping[str, Explanation]


@dataclass(frozen=True, eq=False)
class _Row:
    """A row of a figure."""

    photo: Image.Image
    photo_label: str
    label: str
    cells: Sequence[Cell]


def figure(
    explanations: Explanations,
    *,
    boxes: bool | float = False,
    bands: bool | None = None,
    title: str = "",
    photo_label: str | Sequence[str] | None = None,
    notes: Sequence[str] = (),
    tile: int = TILE,
    opacity: float = DEFAULT_OPACITY,
    colormap: str = DEFAULT_COLORMAP,
) -> Image.Image:
    """Draw images × classes × methods: the panel that ``vitcam explain`` writes.

    For one method an overlay per class stands beside each image, for several a row per class and a column per method.
    Where the model was given a text and the method weighs its tokens, they stand below: orange ones speak for the
    answer, blue ones against it, shaded in proportion to the largest weight.

    Args:
        explanations: of :func:`vitcam.explain` or :func:`vitcam.compare`; a dictionary from names of your own to
            explanations of the same images and as many classes, such as those of several models; or a list, in which
            explanations by different methods stand beside each other, and those by the same one below each other.
        boxes: True outlines the areas above 0.5, a number those above this threshold.
        bands: True draws what each band (channel) counts as bars beside its map, by methods that tell, see
            ``Explanation.band_shares``; None: of other bands than colours.
        title: at the top.
        photo_label: what the photograph is called, or each of them; None: by the name of its file.
        notes: for the line at the bottom, such as the model.
        tile: the side of a square photograph in pixels; clips, sounds and volumes are half as large again.
        opacity, colormap: as for :meth:`vitcam.Explanation.overlay`.

    Returns:
        An RGB picture on white.

    Raises:
        VitcamError: there is nothing to draw, explanations beside each other aren't of the same images or of as many
            classes, labels don't fit, or the figure would be too large.
        ImageError: a map isn't finite, or a photograph can't be read any more.

    Example:
        >>> both = vitcam.compare(photo_model, photo, ["agcam", "rollout"], targets=["cat", "cup"])
        >>> vitcam.figure(both, boxes=0.5).save("figure.png")
        >>> photos = [photo, photo_path("cat")]
        >>> vitcam.figure([vitcam.explain(photo_model, each) for each in photos]).save("photos.png")
    """
    groups = _groups(explanations)
    tile = round(tile * max(KINDS[each.kind].size for group in groups for each in group.values()))
    _check_size(groups, tile)
    threshold = 0.5 if boxes is True else boxes
    images = [image for group in groups for image in _each_image(group)]
    labels = _photo_labels(images, photo_label)
    rows = [
        row
        for image, label in zip(images, labels, strict=True)
        for row in _rows(image, label, threshold, bands, tile)
    ]
    several = len(groups[0]) > 1
    blind = [name for name in groups[0] if all(is_blind(group[name]) for group in groups)]
    said = [
        *([] if several else groups[0]),
        *notes,
        *([] if threshold is False else [f"boxes: above {threshold:g}"]),
        *([f"the same map for every class: {', '.join(blind)}"] if blind else []),
        *(
            ["below: the weights of the text's tokens"]
            if any(cell.words for row in rows for cell in row.cells)
            else []
        ),
    ]
    row_labels = [row.label for row in rows]
    return panel(
        [row.photo for row in rows],
        [row.cells for row in rows],
        row_labels=row_labels if any(row_labels) else (),
        column_labels=list(groups[0]) if several else (),
        photo_label=[row.photo_label for row in rows] if len(images) > 1 else labels[0],
        title=title,
        footer=" · ".join(said),
        tile=tile,
        opacity=opacity,
        colormap=colormap,
    )


def is_blind(explanation: Explanation) -> bool:
    """Whether the maps of several classes are one and the same, in each image.

    Example:
        >>> e = vitcam.explain(photo_model, photo, "rollout", targets=["cat", "cup"])
        >>> is_blind(e), is_blind(vitcam.explain(photo_model, photo, "rollout"))
        (True, False)
    """
    maps = explanation.heatmaps
    return maps.shape[1] > 1 and bool((maps == maps[:, :1]).all())


def _groups(explanations: Explanations) -> list[Methods]:
    """What stands below each other; by each group's names, what stands beside each other."""
    if isinstance(explanations, Explanation):
        groups: list[Methods] = [{explanations.method: explanations}]
    elif isinstance(explanations, Mapping):
        groups = [explanations]
    else:
        by_method: dict[str, list[Explanation]] = {}
        for each in explanations:
            _check_kind(each)
            by_method.setdefault(each.method, []).append(each)
        if len({len(each) for each in by_method.values()}) > 1:
            counts = ", ".join(f"{len(each)} by {name}" for name, each in by_method.items())
            raise VitcamError(f"a figure of a list takes as many explanations by each method; got {counts}")
        groups = [dict(zip(by_method, each, strict=True)) for each in zip(*by_method.values(), strict=True)]
    if not any(group and len(next(iter(group.values()))) for group in groups):
        raise VitcamError("there is no explanation to draw a figure of, or it has no images")
    for group in groups:
        for each in group.values():
            _check_kind(each)
        _check_group(group)
    return groups


def _check_kind(explanation: object) -> None:
    if not isinstance(explanation, Explanation):
        raise VitcamError(
            "a figure is drawn of an Explanation, of what vitcam.compare gives, or of a dictionary or list of them; "
            f"got {explanation!r:.80} among them"
        )


def _check_group(group: Methods) -> None:
    """That what stands beside each other belongs together."""
    (name, first), *others = group.items()
    for each in group.values():
        if len(each.photographs) != len(each):
            raise VitcamError(
                f"{each!r} has {len(each.photographs)} photographs, so that its maps can't be laid over them"
            )
    for other, each in others:
        if each.targets.shape != first.targets.shape:
            raise VitcamError(
                f"what stands beside each other in a figure must have as many images and targets: {name!r} has "
                f"{tuple(first.targets.shape)}, {other!r} {tuple(each.targets.shape)}. Draw a figure of each"
            )
        if each.photographs is first.photographs:
            continue
        for i, (mine, its) in enumerate(zip(first.photographs, each.photographs, strict=True)):
            if mine is not its and thumbnail(mine).tobytes() != thumbnail(its).tobytes():
                raise VitcamError(
                    f"what stands beside each other must be of the same images: in {name!r} and {other!r} "
                    f"image {i} differs, or their models see other parts of it. Draw a figure of each"
                )


def _check_size(groups: Sequence[Methods], tile: int) -> None:
    count = 0
    for group in groups:
        images, targets = next(iter(group.values())).targets.shape
        count += images * (targets * (len(group) + 1) if len(group) > 1 else targets + -(-targets // COLUMNS))
    if count * tile**2 > MAX_PIXELS:
        raise VitcamError(
            f"a figure of {count} pictures of {tile}×{tile} pixels would be too large. Draw some of the images, as "
            "in vitcam.figure(e[:8]), or fewer classes, or make the tile smaller"
        )


def _each_image(group: Methods) -> Iterator[Methods]:
    for i in range(len(next(iter(group.values())))):
        yield {name: each[i] for name, each in group.items()}


def _photo_labels(images: Sequence[Methods], asked: str | Sequence[str] | None) -> list[str]:
    if asked is not None:
        labels = [asked] if isinstance(asked, str) else list(asked)
        if len(labels) != len(images):
            raise VitcamError(
                f"a figure of {len(images)} images takes as many labels of them; got {len(labels)}"
            )
        return labels
    names = [PurePath(*next(iter(image.values())).names).name for image in images]
    kind = next(iter(images[0].values())).kind
    one, several = ("photograph", "image") if kind == "picture" else (kind, kind)
    unknown = [f"{several} {i}" for i in range(len(images))] if len(images) > 1 else [one]
    return [name or other for name, other in zip(names, unknown, strict=True)]


def _rows(
    image: Methods, photo_label: str, threshold: bool | float, bands: bool | None, tile: int
) -> list[_Row]:
    """Of one image."""
    first = next(iter(image.values()))
    photo = thumbnail(first.photographs[0], tile)
    columns = [_cells(explanation, threshold, bands) for explanation in image.values()]
    labels = [[_label(each, t) for t in range(each.targets.shape[1])] for each in image.values()]
    if len(image) == 1:
        cells = [
            replace(cell, label="\n".join(filter(None, label)))
            for cell, label in zip(columns[0], labels[0], strict=True)
        ]
        parts = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
        return [_Row(photo, "" if number else photo_label, "", part) for number, part in enumerate(parts)]
    rows = []
    for t, of_target in enumerate(zip(*columns, strict=True)):
        # what all cells of a row have in common stands before it, the rest above each
        of_row = [label[t] for label in labels]
        common = [lines[0] for lines in zip(*of_row, strict=True) if len(set(lines)) == 1 and lines[0]]
        own = [[line for line in label if line and line not in common] for label in of_row]
        labelled = [replace(cell, label="\n".join(lines)) for cell, lines in zip(of_target, own, strict=True)]
        rows.append(_Row(photo, "" if t else photo_label, "\n".join(common), labelled))
    return rows


def _label(explanation: Explanation, t: int) -> tuple[str, str]:
    """The name of a class, and its probability, where there is one."""
    if explanation.answered:
        return explanation.label(0, t), explanation.answered[0][t].note
    target = int(explanation.targets[0, t])
    known = explanation.logits is not None and target >= 0
    return explanation.label(0, t), percent(float(explanation.probabilities[0, target])) if known else ""


def drawn_size(explanation: Explanation) -> tuple[int, int]:
    """The height and width of the maps that a figure is drawn of: of a large picture less than its own.

    Example:
        >>> drawn_size(vitcam.explain(photo_model, photo))
        (168, 168)
    """
    height, width = explanation.image_size[-2:]
    smaller = max(1.0, math.sqrt(height * width / MAX_DRAWN))
    return max(1, round(height / smaller)), max(1, round(width / smaller))


def _cells(explanation: Explanation, threshold: bool | float, bands: bool | None) -> list[Cell]:
    size = drawn_size(explanation)
    is_picture = explanation.kind == "picture"
    maps = (explanation.upsampled(size).cpu() if is_picture else explanation.laid())[0].numpy()
    boxes = [()] * len(maps) if threshold is False else explanation.boxes(threshold, size)[0]
    return [
        Cell(
            heat,
            boxes=found,
            places=explanation.places(0, t),
            bars=_bars(explanation, t, bands),
            words=[(each.token, each.weight) for each in explanation.text[0][t]] if explanation.text else (),
        )
        for t, (heat, found) in enumerate(zip(maps, boxes, strict=True))
    ]


def _bars(explanation: Explanation, t: int, asked: bool | None) -> list[tuple[str, float]]:
    if explanation.band_sizes is None:
        return []
    shares = explanation.band_shares[0, t].tolist()
    if not (len(shares) not in (1, len(COLOURS)) if asked is None else asked):
        return []
    return list(zip(names_of(len(shares)), shares, strict=True))
