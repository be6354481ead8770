"""What was evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitcam.report.markup import Markup, element
from vitcam.report.run import Run
from vitcam.report.sections.parts import wide

_LISTED = 50
_COUNTS = {
    "planned": "To do",
    "done": "Done",
    "images": "Scored",
    "skipped_wrong": "Predicted wrong, left out",
    "unreadable": "Unreadable",
    "unmatched": "Class unknown to the model, never begun",
}


def about(runs: Sequence[Run]) -> Markup:
    """Model, dataset, settings and counts of every run, and the images that couldn't be read."""
    return element(
        "section",
        element("h2", "What was evaluated"),
        [_of_run(run, len(runs) > 1) for run in runs],
        id="about",
        aria_label="What was evaluated",
    )


def _of_run(run: Run, named: bool) -> list[Markup | None]:
    facts = [(title, value) for title, value in _facts(run.settings) if value]
    return [
        element("h3", run.name) if named else None,
        element("dl", [element("div", element("dt", title), element("dd", value)) for title, value in facts]),
        _counts(run),
        _unreadable(run),
    ]


def _facts(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, dataset = settings.get("model", {}), settings.get("dataset", {})
    size = model.get("input", {})
    versions = {**settings.get("versions", {}), **settings.get("environment", {})}
    return [
        ("Model", _text(model.get("spec"))),
        ("Weights", f"checksum {model['weights']}" if "weights" in model else ""),
        ("Input", f"{size['width']} × {size['height']} pixels" if size else ""),
        ("Preprocessing", _text(model.get("preprocessing"))),
        ("Data", _text(settings.get("data"))),
        ("Dataset", _dataset(dataset)),
        ("Classes", _text(settings.get("class_match"))),
        ("Notes", "; ".join(map(str, dataset.get("notes", ())))),
        ("Protocol", _text(settings.get("protocol"))),
        ("Threshold", _text(settings.get("threshold"))),
        ("Steps", _text(settings.get("steps"))),
        ("Limit", _text(settings.get("limit"))),
        ("Precision", _text(settings.get("precision"))),
        ("Batch size", _text(settings.get("batch_size"))),
        ("Seed", _text(settings.get("seed"))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def _dataset(dataset: Mapping[str, Any]) -> str:
    if "photographs" not in dataset:
        return ""
    return (
        f"{dataset['photographs']:,} photographs, {dataset.get('classes', '?')} classes, "
        f"fingerprint {dataset.get('fingerprint', '?')}"
    )


def _counts(run: Run) -> Markup:
    counts = {task: run.counts(task) for task in run.tasks}
    head = element(
        "tr", element("th", "Images", scope="col"), [element("th", t, scope="col") for t in run.tasks]
    )
    rows = [
        element(
            "tr", element("th", title, scope="row"), [element("td", f"{counts[t][key]:,}") for t in run.tasks]
        )
        for key, title in _COUNTS.items()
    ]
    table = element("table", element("thead", head), element("tbody", rows), class_="counts")
    return wide(table, f"Counts of images of {run.name}")


def _unreadable(run: Run) -> Markup | None:
    failed = run.unreadable
    if not failed:
        return None
    shown = list(failed.items())[:_LISTED]
    more = [element("li", f"and {len(failed) - _LISTED} more")] if len(failed) > _LISTED else []
    return element(
        "details",
        element(
            "summary",
            f"{len(failed)} that couldn't be read" if len(failed) > 1 else "One that couldn't be read",
        ),
        element("ul", [element("li", element("b", image), f": {error}") for image, error in shown], more),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)
