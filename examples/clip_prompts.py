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

    spec = f"open_clip:{ARCHITECTURE}" if given.random_weights else f"open_clip:{ARCHITECTURE}/{WEIGHTS}"
    try:
        model = vitcam.load_model(spec, pretrained=not given.random_weights)
    except vitcam.VitcamError as error:
        hint = "" if given.random_weights else "\nWith --random-weights nothing is downloaded."
        sys.exit(f"{error}{hint}")

    e = vitcam.explain(model, given.photo, targets=given.prompts)
    for t, prompt in enumerate(given.prompts):
        file = f"{given.photo.stem}.prompt{t + 1}.png"
        e.overlay(t=t).save(file)
        print(f"{100 * float(e.probabilities[0, t]):5.1f} %  {prompt}  → {file}")


if __name__ == "__main__":
    main()
