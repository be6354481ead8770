"""What judges measures: maps of known order, and what is made of a measure's numbers for them."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import miniature
import numpy as np
import polars as pl
import torch

from vitcam.evaluation import open_dataset
from vitcam.evaluation.measure import Number

TOOL = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "tools" / "judge_measures.py")))
LOWER = Number("area", "Area", "A made-up number.", "lower")


def judged(means, values=None):
    """A measure whose lower numbers are better, of maps with these means."""
    rows = {"image": [], "target": [], "method": [], "area": []}
    for method, column in (values or {}).items():
        for image, value in enumerate(column):
            for key, entry in zip(rows, (str(image), 0, method, value), strict=True):
                rows[key].append(entry)
    frame = pl.DataFrame(rows) if values else pl.DataFrame({"image": []})
    return TOOL.Judged(LOWER, "made-up", {name: {"area": mean} for name, mean in means.items()}, frame)


def test_pairs_ranks_and_shares():
    means = dict(zip(TOOL.LADDER, (1.0, 2.0, 3.0, 5.0, 4.0), strict=True))
    values = {name: [2.0, 0.0, 1.0, 3.0] for name in TOOL.LADDER} | {"oracle": [1.0] * 4}
    found = judged({**means, "agcam": 0.5, "rollout": 9.0}, values)
    assert (found.rank, found.maps, found.first) == (2, 7, "agcam")
    assert found.pairs == 9  # random and the other object are the wrong way round
    assert found.shares == [(1 + 0 + 0.5 + 1) / 4] * 4
    assert judged(means).shares == []  # a number of all pictures together


def test_agreement_is_spearmans():
    values = np.random.default_rng(0).integers(0, 6, (3, 9)).astype(float)

    def naive(one, other):
        ranks = [
            [sum(x < y for x in row) + (sum(x == y for x in row) - 1) / 2 for y in row]
            for row in (one, other)
        ]
        centred = [np.array(row) - np.mean(row) for row in ranks]
        return (centred[0] * centred[1]).sum() / np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())

    expected = [[naive(one, other) for other in values] for one in values]
    np.testing.assert_allclose(TOOL.agreement(values.tolist()), expected, atol=1e-12)


def test_none_of_the_five_says_what_another_says():
    def measure(key, pairs):
        return SimpleNamespace(number=SimpleNamespace(key=key), quality=(pairs, 0.5))

    correlations = np.eye(3)
    correlations[0, 1] = correlations[1, 0] = 0.95
    all_of_them = [measure("a", 8), measure("b", 10), measure("c", 5), measure("not compared", 10)]
    assert [each.number.key for each in TOOL.recommended(all_of_them, ["a", "b", "c"], correlations)] == [
        "b",
        "c",
    ]


def test_known_maps_are_what_they_are_called():
    dataset = open_dataset("synthetic:", count=3, side=64)
    model = miniature.make_model(("cat", "cup", "face"))
    maps = TOOL.known_maps(dataset, model)
    images = torch.stack([model.preprocessing(dataset[i].image()) for i in (2, 0)]) + 0.01
    for place, index in enumerate((2, 0)):
        sample = dataset[index]
        one, other = sample.labels
        for target, else_ in ((one, other), (other, one)):
            targets = torch.tensor([target if k == place else dataset[(2, 0)[k]].labels[0] for k in range(2)])
            shown = {name: function(None, images, targets)[place] for name, function in maps.items()}
            own = np.asarray(sample.mask(target))[::2, ::2]
            against = np.asarray(sample.mask(else_))[::2, ::2]
            assert np.corrcoef(shown["other_object"].flatten(), against.ravel())[0, 1] > 0.8
            assert np.corrcoef(shown["both_objects"].flatten(), (own | against).ravel())[0, 1] > 0.8
            assert 0.5 < np.corrcoef(shown["noisy_truth"].flatten(), own.ravel())[0, 1] < 0.95


def test_the_page_has_a_place_for_the_tables():
    text = TOOL.PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- judged: begin -->\n") == text.count("<!-- judged: end -->") == 1
