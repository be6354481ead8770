"""Judges the measures themselves on pictures whose cause is known, and writes the tables of docs/judging-measures.md.

``python tools/judge_measures.py [--pictures N] [--run FOLDER] [--budget 10m] [--method NAME]… [--test NAME]…``: every
measure, on every method and on maps whose order is known: the truth, the truth with noise, both objects, noise, the
other object. With ``--run``, an interrupted command goes on; with ``--budget``, each task ends after that time, with
the pictures that it got to. A picture takes about half a minute of a core for five methods: pixels are removed for
every map.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_tables import with_tables
from torch import Tensor, nn

import vitcam
from vitcam.evaluation import evaluate, open_dataset
from vitcam.evaluation.datasets import Dataset, match_classes
from vitcam.evaluation.frames import pl
from vitcam.evaluation.ground_truth import find_truth
from vitcam.evaluation.measure import TASKS, Number, Task
from vitcam.evaluation.measures import measures_of
from vitcam.evaluation.store import RunFolder
from vitcam.methods import METHODS
from vitcam.models import LoadedModel
from vitcam.report.agreement import rank_correlation

PAGE = Path(__file__).parents[1] / "docs" / "judging-measures.md"
MODEL = "embedded:photo"
LADDER = ("oracle", "noisy_truth", "both_objects", "random", "other_object")
"""Maps whose order is known: the best first."""
JUDGED: tuple[Task, ...] = ("localization", "perturbation")
"""Tasks whose measures compare a map with a truth, or with what the model does. What a perfect map's number is of
others, such as whether it changes with the model's weights, isn't known."""
COARSE = 12
"""Rows and columns of noise."""

BEGIN, END = "<!-- judged: begin -->", "<!-- judged: end -->"
ENOUGH = 0.9
"""Measures whose rank correlation is higher say the same."""


def main(arguments: Sequence[str]) -> None:
    given = _parsed(arguments)
    dataset = open_dataset("synthetic:", count=given.pictures, seed=given.seed)
    model = vitcam.load_model(given.model)
    asked = given.method or [name for name in METHODS.ours if not name.startswith("captum:")]
    methods = [name for name in asked if name not in ("random", "center")]
    for name, function in known_maps(dataset, model).items():
        METHODS[name] = function
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.run or Path(temporary)
        judged, agreeing, pictures = [], [], {}
        for task in TASKS:
            tests = [measure.name for measure in measures_of(task) if measure.name in given.test]
            if given.test and not tests:
                continue
            maps = [*methods, "noisy_truth", "both_objects", "other_object"] if task in JUDGED else methods
            summary = evaluate(
                task,
                dataset,
                model,
                maps,
                folder / task,
                protocol="vitcam",
                tests=tests,
                batch_size=2,
                budget=given.budget,
                tell=print,
            )[task]
            rows = RunFolder(folder / task).read()
            pictures[task] = rows["image"].n_unique()
            numbers = {number: measure.name for measure in measures_of(task) for number in measure.numbers}
            found = {n: name for n, name in numbers.items() if n.sign and _complete(summary, n.key, methods)}
            if task in JUDGED:
                judged += [Judged(number, name, summary, rows) for number, name in found.items()]
            agreeing += [(number, name, summary) for number, name in found.items() if _is_main(number, task)]
        compared = [*methods, "random", "center"]
        correlations = agreement([[s[method][n.key] * n.sign for method in compared] for n, _, s in agreeing])
        write(
            judged,
            [(n, name) for n, name, _ in agreeing],
            correlations,
            pictures,
            compared,
            given.model,
        )


def known_maps(dataset: Dataset, model: LoadedModel) -> dict[str, Callable[..., Tensor]]:
    """Methods that aren't any: they look the picture up and know where its objects are."""
    match = match_classes(dataset.classes, model.class_names, model.wordnet_ids)
    inputs, regions = [], []
    for sample in (dataset[index] for index in range(len(dataset))):
        photo = sample.image()
        inputs.append(model.preprocessing(photo).flatten())
        truths = {
            match.model_indices[label]: find_truth(sample, [label], model.preprocessing, photo.size).region
            for label in sample.labels
        }
        regions.append({index: torch.from_numpy(region).float() for index, region in truths.items()})
    seen, nowhere = torch.stack(inputs), torch.zeros(model.preprocessing.size)

    def pictures(images: Tensor) -> list[int]:
        """The nearest: measures may have changed pixels."""
        return torch.cdist(images.detach().float().cpu().flatten(1), seen).argmin(dim=1).tolist()

    def noisy_truth(module: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        maps = []
        for picture, target in zip(pictures(images), targets.tolist(), strict=True):
            truth = regions[picture].get(target, nowhere)  # costs are measured with the predicted class
            drawn = np.random.default_rng([picture, target]).random((COARSE, COARSE), dtype=np.float32)
            noise = nn.functional.interpolate(torch.from_numpy(drawn)[None, None], size=truth.shape)
            maps.append(truth + noise[0, 0])
        return torch.stack(maps)

    def both_objects(module: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return torch.stack(
            [torch.stack(list(regions[picture].values())).amax(0) for picture in pictures(images)]
        )

    def other_object(module: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        places = zip(pictures(images), targets.tolist(), strict=True)
        return torch.stack(
            [
                torch.stack([region for index, region in regions[picture].items() if index != target]).amax(0)
                for picture, target in places
            ]
        )

    return {each.__name__: each for each in (noisy_truth, both_objects, other_object)}


class Judged:
    """What a number makes of maps whose order is known.

    Attributes:
        number, measure: which.
        rank: of the perfect map among all.
        first: the map that it ranks first besides the perfect one.
        pairs: of the ten pairs of known maps, how many their means order rightly.
        shares: for each known map but the first, on which share of pictures the perfect map is better; ties count
        half.
    """

    def __init__(self, number: Number, measure: str, summary: Mapping[str, Any], rows: pl.DataFrame) -> None:
        present = {name: numbers for name, numbers in summary.items() if number.key in numbers}
        means = {name: numbers[number.key] * number.sign for name, numbers in present.items()}
        self.number, self.measure, self.maps = number, measure, len(means)
        self.rank = 1 + sum(mean > means["oracle"] for mean in means.values())
        self.first = max((name for name in means if name != "oracle"), key=means.__getitem__)
        self.pairs = sum(means[better] > means[worse] for better, worse in combinations(LADDER, 2))
        self.shares = (
            [_share(rows, number, other) for other in LADDER[1:]] if number.key in rows.columns else []
        )

    @property
    def quality(self) -> tuple[float, float]:
        """The higher, the more a measure tells maps of known order apart."""
        return self.pairs, float(np.mean(self.shares)) if self.shares else 0.0


def _share(rows: pl.DataFrame, number: Number, other: str) -> float:
    wide = rows.filter(pl.col("method").is_in(["oracle", other])).pivot(
        "method", index=["image", "target"], values=number.key
    )
    wide = wide.drop_nulls()
    differences = (wide["oracle"] - wide[other]).to_numpy() * number.sign
    return float(np.mean(np.sign(differences) / 2 + 0.5))


def agreement(values: Sequence[Sequence[float]]) -> np.ndarray:
    """Spearman's rank correlation of each two rows."""
    return np.array([[rank_correlation(row, other) for other in values] for row in values])


def recommended(judged: Sequence[Judged], order: Sequence[str], correlations: np.ndarray) -> list[Judged]:
    """Five that tell known maps apart best, no two of which say the same."""
    chosen: list[Judged] = []
    for each in sorted(
        (each for each in judged if each.number.key in order), key=lambda each: each.quality, reverse=True
    ):
        place = order.index(each.number.key)
        if all(correlations[place, order.index(other.number.key)] <= ENOUGH for other in chosen):
            chosen.append(each)
    return chosen[:5]


def write(
    judged: Sequence[Judged],
    agreeing: Sequence[tuple[Number, str]],
    correlations: np.ndarray,
    pictures: Mapping[Task, int],
    methods: Sequence[str],
    model: str,
) -> None:
    """Puts the tables between the page's marks."""
    five = recommended(judged, [number.key for number, _ in agreeing], correlations)
    shares = " | ".join(f"above `{name}`" for name in LADDER[1:])
    lines = [
        f"{_counted(pictures)}, two classes of each explained, `{model}`, {len(methods)} methods and controls: "
        + ", ".join(f"`{name}`" for name in methods)
        + ".\n",
        f"| number | `--test` | rank of the perfect map | best other | pairs | {shares} |",
        "|---|---|--:|---|--:|" + "--:|" * len(LADDER[1:]),
    ]
    for each in sorted(judged, key=lambda each: each.quality, reverse=True):
        cells = " | ".join(f"{share:.0%}" for share in each.shares) or " | ".join("–" * len(LADDER[1:]))
        lines.append(
            f"| {each.number.title} | `{each.measure}` | {each.rank} of {each.maps} | `{each.first}` | "
            f"{each.pairs}/10 | "
            f"{cells} |"
        )
    numbered = [str(place + 1) for place in range(len(agreeing))]
    lines += ["", "Spearman's ρ between the main numbers over these methods and controls:", ""]
    lines += [f"| | {' | '.join(numbered)} |", "|---|" + "--:|" * len(numbered)]
    for place, ((number, _), row) in enumerate(zip(agreeing, correlations, strict=True)):
        cells = " | ".join("–" if not np.isfinite(value) else f"{value:.2f}" for value in row[: place + 1])
        lines.append(f"| {place + 1} {number.title} | {cells} |{' |' * (len(numbered) - place - 1)}")
    named = ", ".join(f"{each.number.title} (`{each.measure}`)" for each in five)
    lines += ["", f"The five, by the rule below: {named}."]
    PAGE.write_text(
        with_tables(PAGE.read_text(encoding="utf-8"), "\n".join(lines), BEGIN, END), encoding="utf-8"
    )


def _counted(pictures: Mapping[Task, int]) -> str:
    """How many pictures there were, of each task where they differ."""
    if len(set(pictures.values())) == 1:
        return f"{next(iter(pictures.values()))} pictures"
    return "pictures: " + ", ".join(f"{task} {count}" for task, count in pictures.items())


def _complete(summary: Mapping[str, Any], key: str, methods: Sequence[str]) -> bool:
    """Whether all maps that are to be compared have a number."""
    return all(key in summary[method] for method in (*methods, "random", "center"))


def _is_main(number: Number, task: Task) -> bool:
    return any(measure.numbers[0] is number for measure in measures_of(task))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument(
        "--run", type=Path, help="a folder for the runs, so that an interrupted one can go on"
    )
    parser.add_argument("--budget", help="how long each task may take, such as 10m")
    parser.add_argument("--method", action="append", help="all of vitcam's own if none is given; repeat it")
    parser.add_argument("--test", action="append", default=[], help="all if none is given; repeat it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
