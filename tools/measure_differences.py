"""Makes the table of docs/judging-measures.md that says how far measures are from references.

python tools/measure_differences.py     # needs what tests compare with: pip install 'vitcam[all,pytest]'

It runs the tests of measures, and notes at every comparison by ``pytest.approx`` or ``torch.testing`` how far apart
the two sides are. What a test compares with is in its name.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_tables import with_tables

REPOSITORY = Path(__file__).parents[1]
TESTS = REPOSITORY / "tests" / "evaluation" / "metrics"
PAGE = REPOSITORY / "docs" / "judging-measures.md"
BEGIN, END = "<!-- differences: begin (tools/measure_differences.py) -->", "<!-- differences: end -->"
NAIVE = ("naive", "dense", "counting")
OTHERS = ("authors", "quantus", "captum", "grad_cam")
MEASURES = {
    "test_average_drop": "average drop and increase, ADCC, ARCC",
    "test_chefer": "Chefer's accuracy test",
    "test_complexity": "sparseness, entropy",
    "test_faithfulness": "SRG, AOPC, LOdds, faithfulness estimate, IROF, completeness error",
    "test_grid_pointing": "grid pointing, Focus",
    "test_insertion_deletion": "insertion and deletion",
    "test_localization_metric": "pixel accuracy, IoU, Dice, precision, recall",
    "test_mask_overlap": "the same on masks",
    "test_max_box_accuracy": "MaxBoxAcc",
    "test_perturbation": "ABPC",
    "test_pixel_precision": "PxAP, pixel AP",
    "test_pointing_and_energy": "pointing game, energy inside",
    "test_randomisation": "randomisation of parameters, random logit",
    "test_road": "ROAD",
    "test_robustness": "max-sensitivity, local Lipschitz, relative stability",
    "test_saco": "SaCo",
    "test_segmentation": "segmentation: mIoU, pixel accuracy, mAP, mF1",
    "test_similarity": "SSIM, rank correlation of maps",
    "test_subset_removal": "infidelity, faithfulness correlation, sensitivity-n",
    "test_token_dropping": "token dropping",
}
"""By the file of their tests."""


class Differences:
    """A plugin of pytest that notes differences; those of what isn't finite, or no number, aren't noted."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._key = ("", "")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        of_others = any(name in item.name for name in OTHERS)
        self._key = (item.path.stem, "others" if of_others else "naive")
        yield

    def note(self, ours: Any, theirs: Any) -> None:
        """Notes the largest difference, of numbers above 1 as a share of them."""
        try:
            a, b = (np.asarray(side, dtype=float) for side in (ours, theirs))
        except (TypeError, ValueError):
            return
        if a.shape != b.shape or not a.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return
        self.found[self._key].append(float((abs(a - b) / np.maximum(1, abs(b))).max()))


def main() -> None:
    plugin = Differences()
    close = torch.testing.assert_close

    def assert_close(actual: Any, expected: Any, *rest: Any, **options: Any) -> None:
        close(actual, expected, *rest, **options)
        plugin.note(actual, expected)

    torch.testing.assert_close = assert_close
    base = type(pytest.approx(1.0)).__base__
    assert base is not None
    for kind in base.__subclasses__():

        def equal(self: Any, actual: Any, before: Any = kind.__eq__) -> bool:
            if same := before(self, actual):
                plugin.note(actual, self.expected)
            return same

        kind.__eq__ = equal  # type: ignore[method-assign]
    named = " or ".join((*NAIVE, *OTHERS))
    arguments = ["-q", "-n", "0", "-p", "no:cacheprovider", "-k", named, str(TESTS)]
    if pytest.main(arguments, plugins=[plugin]):
        raise SystemExit("a test failed: nothing is written")
    lines = ["| measures | naive versions | authors' code, Quantus, captum or grad-cam |", "|---|--:|--:|"]
    for stem, named in MEASURES.items():
        cells = (_shown(plugin.found.get((stem, other), [])) for other in ("naive", "others"))
        lines.append(f"| {named} | {' | '.join(cells)} |")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(text, "\n".join(lines), BEGIN, END), encoding="utf-8")


def _shown(differences: list[float]) -> str:
    if not differences:
        return "–"
    largest = max(differences)
    if largest == 0:
        return f"0 ({len(differences)})"
    exponent = math.floor(math.log10(largest))
    return f"{largest / 10**exponent:.0f}e{exponent} ({len(differences)})"


if __name__ == "__main__":
    main()
