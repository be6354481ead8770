"""A dataset and a model so small that a whole evaluation takes a second; and that evaluation as a program.

``python miniature.py DATASET OUTPUT TASK [SECONDS]`` stores after every batch, or so many seconds, and slowly, so
that a kill finds it at any point of its work. It prints how many images are done.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from vitcam import LoadedModel, Preprocessing

CLASSES = ("cat", "dog", "hen")
BROKEN = "dog/broken.png"
METHODS = ["agcam", "rollout"]
SIDE = 32


def make_dataset(root: Path, images: int = 23, *, broken: bool = True) -> Path:
    """Class folders of noise with a box each, and if ``broken`` one file that is no image."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(images):
        file = f"{CLASSES[i % 3]}/{i:02d}.png"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        height, width = (int(side) for side in random.integers(30, 60, 2))
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / file)
        left, top = (int(edge) for edge in random.integers(0, 15, 2))
        rows.append((file, left, top, left + 12, top + 14))
    if broken:
        (root / BROKEN).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        rows.append((BROKEN, 1, 1, 9, 9))
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "left", "top", "right", "bottom"), *rows])
    return root


def make_model(classes: tuple[str, ...] = CLASSES) -> LoadedModel:
    torch.manual_seed(0)
    module = VisionTransformer(
        img_size=SIDE, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=len(classes)
    ).eval()
    for parameter in module.parameters():
        parameter.data.normal_(std=0.4)
    half = (0.5, 0.5, 0.5)
    return LoadedModel(module, Preprocessing(size=(SIDE, SIDE), mean=half, std=half), class_names=classes)


def _slowly(path: Path, content: bytes) -> None:
    middle = len(content) // 2
    with path.open("wb") as file:
        for part in (content[:middle], content[middle:]):
            file.write(part)
            file.flush()
            time.sleep(0.05)


def main(dataset: str, output: str, task: str, store_every: str = "0") -> None:
    from vitcam import writing
    from vitcam.evaluation import evaluate, parts

    torch.set_num_threads(1)
    parts.MANY = 9  # so that a kill finds it putting parts together too
    writing.write_durably = _slowly
    settings = {"batch_size": 3, "store_every": float(store_every)}
    evaluate(
        task,
        f"folder:{dataset}",
        make_model(),
        METHODS,
        output,
        progress=lambda progress: print(progress.done, flush=True),
        **settings,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
