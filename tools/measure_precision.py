"""Measures how far each method's map is from float64's, and writes the table in docs/reproducibility.md.

``python tools/measure_precision.py [METHOD…]``: the embedded model on the photographs that come with vitcam, in
fp32, in bf16 and as a bf16 model, on 1 and 2 threads, in batches of 1 and 8; of all methods or those named. All take
half an hour.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import vitcam
from vitcam.errors import MethodError
from vitcam.methods import METHODS
from vitcam.photos import photo_path

PAGE = Path(__file__).parents[1] / "docs" / "reproducibility.md"
PHOTOGRAPHS = ("cat", "cup", "astronaut", "cat_and_cup")
# With fewer steps than they have by default, for time; what is random is drawn alike in every column.
SHORTER = {
    "captum:IntegratedGradients": {"n_steps": 16},
    "captum:GradientShap": {"n_samples": 8},
    "captum:SmoothGrad": {"n_samples": 8},
    "captum:ShapleyValueSampling": {"n_samples": 1},
}
# Of these a single photograph, for time: hundreds of forward passes each.
SLOW = ("captum:FeatureAblation", "captum:ShapleyValueSampling")
# In another precision they draw other numbers, so that they are held to fp32 on one thread instead of float64.
DRAWING = ("captum:GradientShap", "captum:SmoothGrad", "captum:ShapleyValueSampling", "random")
HEADER = """\
| method | fp32, batch 1, 1 thread | batch 1, 2 threads | batch 8, 1 thread | batch 8, 2 threads | bf16 | bf16 model |
|---|--:|--:|--:|--:|--:|--:|
"""


def main(methods: Sequence[str]) -> None:
    loaded = vitcam.load_model("embedded:photo")
    images = loaded.preprocess([photo_path(name) for name in PHOTOGRAPHS])
    images = torch.cat([images, images.flip(-1)])
    for method in methods:
        row = measured(loaded.module, images[:1] if method in SLOW else images, method)
        print(row, flush=True)
        write(method, row)


def write(method: str, row: str) -> None:
    """Puts a row in the page's table, in the place of the method's old one."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split("<!-- precision: begin -->\n")
    table, after = rest.split("<!-- precision: end -->")
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")} | {method: row}
    lines = "\n".join(rows[name] for name in METHODS if name in rows)
    table = f"<!-- precision: begin -->\n{HEADER}{lines}\n<!-- precision: end -->"
    PAGE.write_text(before + table + after, encoding="utf-8")


def measured(model: nn.Module, images: Tensor, method: str) -> str:
    """One line of the table."""
    with torch.no_grad():
        targets = model(images).argmax(1)

    def maps(model: nn.Module, images: Tensor, threads: int = 1, **options: object) -> Tensor:
        torch.set_num_threads(threads)
        options = {**SHORTER.get(method, {}), **options}
        return vitcam.explain(model, images, method, targets=targets, **options).heatmaps.double().flatten(1)

    exactly = torch.float32 if method in DRAWING else torch.float64
    exact = maps(copy.deepcopy(model).to(exactly), images.to(exactly), batch_size=1)
    cells = [
        f"{largest(maps(model, images, threads, batch_size=batch), exact):.0e}"
        for batch, threads in ((1, 1), (1, 2), (8, 1), (8, 2))
    ]
    try:
        cells.append(both(maps(model, images, precision="bf16"), exact))
    except MethodError:
        cells.append("refused")
    in_bf16 = copy.deepcopy(model).bfloat16()
    of_its_weights = maps(copy.deepcopy(in_bf16).to(exactly), images.bfloat16().to(exactly))
    cells.append(both(maps(in_bf16, images.bfloat16()), of_its_weights))
    return f"| `{method}` | {' | '.join(cells)} |"


def largest(maps: Tensor, exact: Tensor) -> float:
    """Of all maps: the largest difference, as a share of the map's largest magnitude."""
    return float(((maps - exact).abs().amax(1) / exact.abs().amax(1)).max())


def both(maps: Tensor, exact: Tensor) -> str:
    """The largest difference, and the lowest correlation."""
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(maps, exact, strict=True)]
    return f"{largest(maps, exact):.0e} ({min(correlations):.4f})"


if __name__ == "__main__":
    main(sys.argv[1:] or list(METHODS))
