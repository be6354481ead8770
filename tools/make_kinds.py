"""Makes the pictures of docs/inputs.md: ``python tools/make_kinds.py``.

They are of the tiny models that the tests train, which know a moving square, a tone and a ball.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import vitcam

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "images"
METHOD = "attnlrp"
SHOWN = {"clip": 2, "sound": 2, "volume": 4}
"""Which of the inputs that hold evidence is drawn."""


def main() -> None:
    """Makes them all."""
    sys.path.insert(0, str(ROOT / "tests" / "inputs"))
    from test_truth import CASES, train

    torch.set_num_threads(1)
    for name, (make, model, steps) in CASES.items():
        trained = train(make, model, steps)
        values, places, labels = make(72, seed=2)
        number = int(places.flatten(1).sum(1).nonzero()[SHOWN[name]])
        e = vitcam.explain(trained, values[number][None], METHOD, targets=labels[number][None])
        if name == "clip":
            vitcam.animation(e).save(FOLDER / "clip.webp", seconds=0.4)
        else:
            vitcam.figure(e, tile=150).save(FOLDER / f"{name}.webp", quality=45, method=6)


if __name__ == "__main__":
    main()
