"""A model that you already have, here torchvision's ViT, with its own transforms: explain takes module and tensor.

python examples/torchvision_model.py PHOTO [--random-weights]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from urllib.error import URLError

from PIL import Image
from torchvision.models import ViT_B_16_Weights, vit_b_16

import vitcam
from vitcam.photos import photo_path


def main() -> None:
    options = argparse.ArgumentParser(description="Explains torchvision's ViT-B/16.")
    options.add_argument("photo", nargs="?", type=Path, default=photo_path("cat_and_cup"))
    options.add_argument("--random-weights", action="store_true", help="download nothing; maps mean nothing")
    given = options.parse_args()

    weights = ViT_B_16_Weights.DEFAULT
    try:
        model = vit_b_16(weights=None if given.random_weights else weights)
    except URLError as error:
        sys.exit(
            f"torchvision can't fetch its weights: {error.reason}. With --random-weights nothing is downloaded."
        )
    if given.random_weights:
        model.heads.head.reset_parameters()  # torchvision begins with zeros, of which there is nothing to explain

    photo = Image.open(given.photo).convert("RGB")
    images = weights.transforms()(photo)[None]
    e = vitcam.explain(model, images, targets="top5")  # evaluates as in model.eval(), and sets the mode back

    names = weights.meta["categories"]
    for t in range(5):
        box = e.boxes(threshold=0.5)[0][t][0]
        print(f"{names[int(e.targets[0, t])]}: hottest box {box.left, box.top, box.right, box.bottom}")
    e.overlay(t=0).save(f"{given.photo.stem}.overlay.png")


if __name__ == "__main__":
    main()
