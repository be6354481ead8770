"""What was evaluated: what a run's settings and rows say of themselves, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitcam.report.run import Run

COUNTS = {
    "planned": "To do",
    "done": "Done",
    "images": "Scored",
    "skipped_wrong": "Predicted wrong, left out",
    "unreadable": "Unreadable",
    "unmatched": "Class unknown to the model, never begun",
}
"""What a task's images were counted as, with a title each."""


def in_a_line(run: Run) -> str:
    """A run in a line: model, data, images and methods.

    Example:
        >>> from vitcam.report import read_runs
        >>> in_a_line(read_runs(["run"])[0])
        'embedded:photo · folder · ... images scored · 4 methods · paper protocol'
    """
    settings = run.settings
    images = max(run.counts(task)["images"] for task in run.tasks)
    protocol = settings.get("protocol")
    parts = [
        settings.get("model", {}).get("spec"),
        settings.get("dataset", {}).get("kind"),
        f"{images:,} images scored",
        f"{len(run.methods)} methods",
        protocol and f"{protocol} protocol",
    ]
    return " · ".join(str(part) for part in parts if part)


def facts(run: Run) -> list[tuple[str, str]]:
    """What decided a run's numbers, with a title each; what isn't known is left out."""
    settings = run.settings
    model, dataset = settings.get("model", {}), settings.get("dataset", {})
    size = model.get("input", {})
    versions = {**settings.get("versions", {}), **settings.get("environment", {})}
    every = [
        ("Model", _text(model.get("spec"))),
        ("Weights", f"checksum {model['weights']}" if "weights" in model else ""),
        ("Input", _input(size)),
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
    return [(title, value) for title, value in every if value]


def _dataset(dataset: Mapping[str, Any]) -> str:
    if "photographs" not in dataset:
        return ""
    return (
        f"{dataset['photographs']:,} {dataset.get('holds', 'photographs')}, {dataset.get('classes', '?')} classes, "
        f"fingerprint {dataset.get('fingerprint', '?')}"
    )


def _input(size: Mapping[str, Any]) -> str:
    if "kind" in size:
        return ", ".join([size["kind"], *(f"{size[axis]} {axis}" for axis in size if axis != "kind")])
    return f"{size['width']} × {size['height']} pixels" if size else ""


def _text(value: object) -> str:
    return "" if value is None else str(value)
