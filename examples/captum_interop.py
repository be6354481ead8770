"""captum and vitcam: captum's attributions as methods of vitcam, and vitcam's maps in captum's pictures.

Needs the extra `captum`: pip install 'vitcam[captum]'

python examples/captum_interop.py
"""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from captum.attr import Saliency
from captum.attr import visualization as captum_pictures

import vitcam
from vitcam.photos import photo_path


def main() -> None:
    model = vitcam.load_model("embedded:photo")
    images = model.preprocess([photo_path("cat_and_cup")])
    cup = model.class_index("cup")

    # captum's attributions beside vitcam's: averaged over each patch, so that all are on one grid.
    maps = vitcam.compare(
        model,
        images,
        ["agcam", "captum:Saliency", "captum:InputXGradient", "captum:IntegratedGradients(n_steps=8)"],
        cup,
    )
    for name, e in maps.items():
        row, column = divmod(int(e.heatmaps[0, 0].argmax()), e.heatmaps.shape[-1])
        print(f"{name:38} hottest patch: row {row}, column {column}")

    # captum itself on the same module. Its pixels, averaged over each patch, are vitcam's map.
    pixels = Saliency(model.module).attribute(images.requires_grad_(), target=cup)
    rows, columns = maps["captum:Saliency"].heatmaps.shape[-2:]
    patches = torch.nn.functional.adaptive_avg_pool2d(pixels.sum(1, keepdim=True), (rows, columns))
    same = torch.allclose(patches, maps["captum:Saliency"].heatmaps, rtol=1e-3, atol=1e-6)
    print("captum's own Saliency gives the same map:", same)

    # vitcam's map in captum's picture, which takes (height, width, channels).
    matplotlib.use("agg")
    e = maps["agcam"]
    figure, _ = captum_pictures.visualize_image_attr(
        e.upsampled(normalize=False)[0, 0, :, :, None].numpy(),
        np.asarray(e.photographs[0]),
        method="blended_heat_map",
        sign="positive",
        show_colorbar=True,
        title="agcam: cup",
        use_pyplot=False,
    )
    figure.savefig("captum.png")
    print("→ captum.png")


if __name__ == "__main__":
    main()
