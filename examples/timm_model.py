"""A model of timm: its most probable classes, and where it looks for each.

python examples/timm_model.py PHOTO [--model vit_base_patch16_224] [--random-weights]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import vitcam
from vitcam.photos import photo_path


def main() -> None:
    options = argparse.ArgumentParser(description="Explains a model of timm.")
    options.add_argument("photo", nargs="?", type=Path, default=photo_path("cat_and_cup"))
    options.add_argument("--model", default="vit_base_patch16_224", help="timm's name of it")
    options.add_argument("--random-weights", action="store_true", help="download nothing; maps mean nothing")
    given = options.parse_args()

    try:
        model = vitcam.load_model(f"timm:{given.model}", pretrained=not given.random_weights)
    except vitcam.VitcamError as error:
        sys.exit(f"{error}\nWith --random-weights nothing is downloaded.")

    e = vitcam.explain(model, given.photo, targets="top3")
    for t in range(3):
        probability = float(e.probabilities[0, e.targets[0, t]])
        file = f"{given.photo.stem}.{t + 1}.png"
        e.overlay(t=t).save(file)
        print(f"{100 * probability:5.1f} %  {e.label(t=t)}  → {file}")


if __name__ == "__main__":
    main()
