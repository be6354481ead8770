"""Makes docs/tried-models.md from the results of tools/try_models.py."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks_to_try import METHODS as METHODS_OF_TASKS
from tasks_to_try import TASKS

METHODS = ("agcam", "rollout", "gradcam", "legrad", "gae")
LIBRARIES = ("torch", "timm", "torchvision", "transformers", "open_clip_torch")
RESULTS = Path(__file__).parent / ".tried-models.json"
PAGE = Path(__file__).parents[1] / "docs" / "tried-models.md"

BY_HAND = (
    "Small ones of DPT, MaskFormer, Mask2Former, SAM and SigLIP, built by hand, are in the tests; "
    "[answers](answers.md) says how they fare."
)

# From what an error says to why a model isn't explained.
REASONS = {
    r"see different numbers of tokens \((.*?)\)": r"attention over different numbers of tokens: \1",
    "attend within windows": "attention within windows",
    "fewer keys than queries": "attention over reduced keys",
    "no attention was seen": "no softmax over keys times values: linear, convolutional or mixed-head attention",
    "makes other tokens of the same image": "masks patches at random",
    "no patch grid of that size": "its tokens don't form one grid of patches",
    r"itself failed on images": "takes other inputs than a batch of images",
    r"scores of shape .* for \d+ images": "packs the images of a batch into one sequence",
    r"exactly zero at every attention": "the score doesn't depend on its attention",
    r"doesn't fit its": "its last norm isn't laid out by patches",
    r"no normalisation layer was called": "no normalisation layer in its last block",
    "another map alone than in a batch": "its own gradients change with the batch",
    "attend side by side": "attention that branches within one layer",
    "queries of its own|queries of the model's own|aren't the first of the": "queries of its own read the tokens",
    r"streams of tokens that begin in .* meet": "streams of tokens that meet",
    "place for place|from the same tokens of": "something else mixes the tokens between attention layers",
    "computes attention in another way": "attention other than a softmax times values",
    r"gives (\(.*?\)) per image, and which": r"which of its last norm's \1 are which place isn't confirmed",
    "the image reaches none of": "the image doesn't reach its attention",
    "its output depends on none of them|cuts gradients": "its last layer isn't read",
    "FAILED constant": "covering any part changes nothing",
    "along time alone": "reads waves, or features of each moment",
    "no rule for torch's '(.*?)'": r"no rule for `\1`",
    "covers all .* patches at once": "too few patches for windows of two",
    "there are no logits of shape": "its logits aren't a table (batch, classes)",
    r"no blocks of one size": "blocks of different sizes",
    r"head reads more than": "blocks of different sizes",
}


def write_page(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the page."""
    built = {key: result for key, result in results.items() if "methods" in result and "task" not in result}
    done = {key: [result["methods"][m] == "ok" for m in METHODS] for key, result in built.items()}
    every = [key for key, ok in done.items() if all(ok)]
    some = [key for key, ok in done.items() if any(ok) and not all(ok)]
    none = [key for key, ok in done.items() if not any(ok)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in LIBRARIES)
    text = [
        "# Models that were tried",
        "",
        f"One model of every family, small and with random weights, explained by {_listed(METHODS)}",
        f"({versions}). A tick: the map has the right grid,",
        "is finite and not constant, is the same for an image alone and in a batch, and for `agcam` with and without",
        "the replay. When a patch of the image changed, it was the token of that patch that changed.",
        "",
        f"Of {len(built)} families {len(every)} are explained by all five methods, {len(some)} by some, and",
        f"{len(none)} by none of them, with an error that says why. Made by `python tools/try_models.py`.",
        "",
        f"## By all methods: {len(every)}",
        "",
        *_table(
            ("library", "tried", "patches", "prefix tokens"),
            ((*_model(key), built[key]["grid"], built[key]["prefix"]) for key in every),
        ),
        "",
        f"## By some methods: {len(some)}",
        "",
        "Mostly hierarchical models and hybrids with convolutions.",
        "",
        *_table(
            ("library", "tried", *(f"`{method}`" for method in METHODS), "why not"),
            ((*_model(key), *("✓" if ok else "–" for ok in done[key]), _why(built[key])) for key in some),
        ),
        "",
        f"## By none: {len(none)}",
        "",
        *_table(("library", "tried", "why not"), ((*_model(key), _why(built[key])) for key in none)),
        "",
        *_of_tasks([result for result in results.values() if "task" in result]),
    ]
    PAGE.write_text("\n".join(text) + "\n")


def _of_tasks(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The section of models that answer something else, or are given something else, than classes of photographs."""
    built = [result for result in results if "methods" in result]
    answered = [result for result in built if "ok" in result["methods"].values()]
    text = [
        "## Clips, sounds, objects, regions, texts",
        "",
        f"What transformers lists for other tasks, small and with random weights: {len(built)} classes, of which",
        f"{len(answered)} are explained by at least one of {_listed(METHODS_OF_TASKS)}.",
        "A tick: the map is finite, not constant, and the same for an input alone and in a batch. How they are asked",
        "is on the pages of [inputs](inputs.md) and [answers](answers.md).",
    ]
    for task in TASKS.values():
        rows = [
            (
                f"`{result['family']}`",
                *("✓" if result["methods"][m] == "ok" else "–" for m in METHODS_OF_TASKS),
                _why(result),
            )
            for result in built
            if result["task"] == task
        ]
        if rows:
            head = ("model", *(f"`{method}`" for method in METHODS_OF_TASKS), "why not")
            text += ["", f"### {task[0].upper()}{task[1:]}", "", *_table(head, rows)]
    left = [f"`{result['family']}`" for result in results if "methods" not in result]
    if left:
        text += [
            "",
            f"Not tried, since they don't run with sizes made small, or not in time: {', '.join(left)}.",
        ]
    return [*text, "", BY_HAND]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:-1]) + f" and `{names[-1]}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]


def _model(key: str) -> tuple[str, str]:
    library, name = key.split(": ", 1)
    return library, f"`{name}`"


def _why(result: Mapping[str, Any]) -> str:
    """The reasons of the methods that didn't work, each once, the first method's first."""
    reasons = dict.fromkeys(_reason(text) for text in result["methods"].values() if text != "ok")
    return "; ".join(reasons)


def _reason(error: str) -> str:
    for pattern, reason in REASONS.items():
        if found := re.search(pattern, error):
            return found.expand(reason)
    return error.replace("\n", " ")[:200]


if __name__ == "__main__":
    write_page(json.loads(RESULTS.read_text()))
