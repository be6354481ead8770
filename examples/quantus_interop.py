"""vitcam as the `explain_func` of Quantus: any method of vitcam under any measure of Quantus.

Needs Quantus: pip install quantus

python examples/quantus_interop.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import quantus
import torch
from numpy.typing import NDArray
from torch import nn

import vitcam
from vitcam.photos import photo_path


def explain_func(
    model: nn.Module, inputs: NDArray[Any], targets: NDArray[Any], **options: Any
) -> NDArray[Any]:
    """What Quantus asks for: from a batch of inputs and classes to attributions (batch, 1, height, width)."""
    method = options.get("method", "agcam")
    device = next(model.parameters()).device
    images = torch.as_tensor(np.asarray(inputs), dtype=torch.float32, device=device)
    e = vitcam.explain(model, images, method=method, targets=torch.as_tensor(np.asarray(targets)))
    return e.upsampled(normalize=False).cpu().numpy()


def main() -> None:
    model = vitcam.load_model("embedded:photo")
    images = model.preprocess([photo_path("cat"), photo_path("cup"), photo_path("astronaut")]).numpy()
    classes = np.array([model.class_index(name) for name in ("cat", "cup", "face")])

    # Does the score fall most where the map is hottest? The correlation over random sets of pixels.
    # Ten sets on three photographs are enough to see that it runs, and for nothing else.
    measure = quantus.FaithfulnessCorrelation(
        nr_runs=10,
        subset_size=2000,
        perturb_baseline="mean",
        similarity_func=quantus.similarity_func.correlation_pearson,
        return_aggregate=False,
        disable_warnings=True,
    )
    for method in ("agcam", "rollout", "random"):
        np.random.seed(0)
        scores = measure(
            model=model.module,
            x_batch=images,
            y_batch=classes,
            explain_func=explain_func,
            explain_func_kwargs={"method": method},
        )
        print(f"{method:8}", " ".join(f"{score:+.2f}" for score in scores))


if __name__ == "__main__":
    main()
