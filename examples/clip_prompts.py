"""CLIP, asked about texts: each text is a class, and has a map.

Needs the extra `open-clip`: pip install 'vitcam[open-clip]'

python examples/clip_prompts.py PHOTO "a photo of a cat" "a photo of a cup" [--random-weights]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import vitcam
from vitcam.photos import photo_path

ARCHITECTURE, WEIGHTS = "ViT-B-32", "laion2b_s34b_b79k"


def main() -> None:
    options = argparse.ArgumentParser(description="Explains CLIP for texts.")
    options.add_argument("photo", nargs="?", type=Path, default=photo_path("cat_and_cup"))
    options.add_argument("prompts", nargs="*", default=["a photo of a cat", "a photo of a cup"])
    options.add_argument("--random-weights", action="store_true", help="download nothing; maps mean nothing")
    given = options.parse_args()

    try:
        if given.random_weights:
            model = vitcam.load_model(f"open_clip:{ARCHITECTURE}", pretrained=False)
        else:
            model = vitcam.load_model(f"open_clip:{ARCHITECTURE}/{WEIGHTS}")
    except vitcam.VitcamError as error:
        sys.exit(f"{error}\nWith --random-weights nothing is downloaded.")

    e = vitcam.explain(model, given.photo, targets=given.prompts)
    for t, prompt in enumerate(given.prompts):
        file = f"{given.photo.stem}.prompt{t + 1}.png"
        e.overlay(t=t).save(file)
        print(f"{100 * float(e.probabilities[0, t]):5.1f} %  {prompt}  → {file}")


if __name__ == "__main__":
    main()
