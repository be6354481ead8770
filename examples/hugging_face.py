"""A classifier of Hugging Face, as transformers gives it: explain takes the module, which answers with `.logits`.

Needs the extra `hf`: pip install 'vitcam[hf]'

python examples/hugging_face.py PHOTO [--model google/vit-base-patch16-224] [--random-weights]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import vitcam
from vitcam.photos import photo_path


def main() -> None:
    options = argparse.ArgumentParser(description="Explains a classifier of Hugging Face.")
    options.add_argument("photo", nargs="?", type=Path, default=photo_path("cat_and_cup"))
    options.add_argument("--model", default="google/vit-base-patch16-224", help="its id on the hub")
    options.add_argument("--random-weights", action="store_true", help="download nothing; maps mean nothing")
    given = options.parse_args()

    if given.random_weights:
        import transformers

        config = transformers.ViTConfig(num_hidden_layers=4, num_labels=1000)
        half = (0.5, 0.5, 0.5)
        model = vitcam.LoadedModel(
            transformers.ViTForImageClassification(config).eval(),
            vitcam.Preprocessing(size=(224, 224), mean=half, std=half),
        )
    else:
        try:
            model = vitcam.load_model(f"hf:{given.model}")  # with its own preprocessing and class names
        except vitcam.VitcamError as error:
            sys.exit(f"{error}\nWith --random-weights nothing is downloaded.")

    maps = vitcam.compare(model, given.photo, methods=["agcam", "gradcam", "rollout"])
    for name, e in maps.items():
        file = f"{given.photo.stem}.{name}.png"
        e.overlay().save(file)
        print(f"{name:8} {e.label()}  → {file}")


if __name__ == "__main__":
    main()
