"""Makes the pictures of the gallery from the shipped photographs: ``python tools/make_gallery.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

import vitcam
from vitcam.photos import PHOTOS, photo_path
from vitcam.render import Cell, panel

FOLDER = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 1300
METHODS = ["agcam", "lrp", "gae", "gradsam", "legrad", "gradcam", "attnlrp", "attention", "rollout"]
FROM_ATTENTION = [
    ["tokentm", "grad-eclip", "tam", "bt", "bt(kind='tokens')"],
    ["gae(rules='libra')", "gradsam(rules='libra')", "ixg(rules='libra')", "fullgrad(rules='libra')"],
]
CAMS = [
    ["gradcam", "gradcam++", "xgradcam", "layercam", "hirescam"],
    ["finercam", "eigencam", "eigengradcam", "ablationcam", "gradcam(smooth='aug+eigen')"],
]
MASKED = [
    ["maskclip", "reciprocam", "occlusion", "scorecam", "tis"],
    ["rise", "shapley", "captum:FeatureAblation", "captum:KernelShap", "captum:Lime"],
]
CONTROLS = ["random", "center"]


def main() -> None:
    """Makes them all."""
    model = vitcam.load_model("embedded:photo")
    save("predicted", predicted(model))
    save("methods", methods(model, [METHODS[:5], METHODS[5:]]))
    save("methods-attention", methods(model, FROM_ATTENTION))
    save("methods-cams", methods(model, CAMS))
    save("methods-masked", methods(model, MASKED))
    save("controls", methods(model, [["agcam", *CONTROLS]]))
    save("layers", layers(model))
    save("boxes", boxes(model))
    save("random-weights", random_weights(model))
    save("large-picture", large_picture(model))


def predicted(model: vitcam.LoadedModel) -> Image.Image:
    """Each photograph with the map of its predicted class."""
    pictures = []
    for name in PHOTOS:
        e = vitcam.explain(model, photo_path(name))
        pictures.append(vitcam.figure(e, photo_label=f"{name}.jpg"))
    return one_above_the_other([side_by_side(pictures[:2]), side_by_side(pictures[2:])])


def methods(model: vitcam.LoadedModel, groups: Sequence[Sequence[str]]) -> Image.Image:
    """A row per class and a column per method."""
    pictures = []
    for group in groups:
        found = vitcam.compare(model, photo_path("cat_and_cup"), list(group), targets=["cat", "cup"])
        pictures.append(found.figure(photo_label="photograph"))
    return one_above_the_other(pictures)


def layers(model: vitcam.LoadedModel) -> Image.Image:
    """AGCAM's sum, layer by layer."""
    names = ["agcam", *(f"agcam(layers=[{layer}])" for layer in range(6))]
    found = vitcam.compare(model, photo_path("cat_and_cup"), names, targets=["cat", "cup"])
    photograph, total = found["agcam"].photographs[0], found["agcam"].heatmaps.sum((2, 3))[0]
    pictures = []
    for group in (names[:4], names[4:]):
        cells = [
            [Cell(found[name].upsampled()[0, t], _share(found[name], t, float(total[t]))) for name in group]
            for t in range(2)
        ]
        pictures.append(panel(photograph, cells, row_labels=["cat", "cup"], column_labels=group))
    return one_above_the_other(pictures)


def _share(e: vitcam.Explanation, t: int, total: float) -> str:
    return f"{100 * float(e.heatmaps[0, t].sum()) / total:.0f} % of the sum"


def boxes(model: vitcam.LoadedModel) -> Image.Image:
    """Boxes at three thresholds."""
    e = vitcam.explain(model, photo_path("cat_and_cup"), targets=["cat", "cup"])
    thresholds = (0.3, 0.5, 0.7)
    cells = [
        [Cell(e.upsampled()[0, t], boxes=e.boxes(threshold)[0][t]) for threshold in thresholds]
        for t in range(2)
    ]
    heads = [f"threshold {threshold}" for threshold in thresholds]
    return panel(e.photographs[0], cells, row_labels=["cat", "cup"], column_labels=heads)


def random_weights(model: vitcam.LoadedModel) -> Image.Image:
    """The same architecture before it has learnt anything."""
    torch.manual_seed(0)
    untrained = vitcam.load_model("embedded:photo", pretrained=False)
    names = ["agcam", "lrp", "gradcam", "rollout"]
    cells, rows = [], []
    for title, each in (("trained", model), ("random weights", untrained)):
        found = vitcam.compare(each, photo_path("cat_and_cup"), names, targets="cat")
        cells.append([Cell(e.upsampled()[0, 0]) for e in found.values()])
        rows.append(title)
    photograph = found["agcam"].photographs[0]
    return panel(photograph, cells, row_labels=rows, column_labels=names)


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one height next to each other."""
    height = max(picture.height for picture in pictures)
    joined = Image.new("RGB", (sum(picture.width for picture in pictures), height), "white")
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width
    return joined


def large_picture(model: vitcam.LoadedModel) -> Image.Image:
    """A wall with two photographs, in tiles of the model's size."""
    wall = Image.new("RGB", (800, 500), "gray")
    wall.paste(Image.open(photo_path("cat")).resize((240, 240)), (40, 220))
    wall.paste(Image.open(photo_path("cup")).resize((240, 160)), (520, 40))
    return vitcam.figure(vitcam.explain(model, wall, targets=["cat", "cup"], tiles=(168, 84)), tile=260)


def one_above_the_other(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one width below each other."""
    width = max(picture.width for picture in pictures)
    joined = Image.new("RGB", (width, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        joined.paste(picture, (0, top))
        top += picture.height
    return joined


def save(name: str, picture: Image.Image) -> None:
    """As WebP, no wider than a page needs."""
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    picture.save(FOLDER / f"{name}.webp", quality=78, method=6)


if __name__ == "__main__":
    main()
