"""Tries every family of Vision Transformers that is at hand, and writes docs/tried-models.md from what happens.

``python tools/try_models.py [PATTERN…]``: all of timm, torchvision, Hugging Face and open_clip, and Hugging Face's of
other tasks, or those whose name has a pattern in it. Small, with random weights; nothing is downloaded. It takes an
hour. Results are kept in ``tools/.tried-models.json``, from which tried_models_page.py makes the page: a part can be
tried again.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import traceback
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from models_to_try import Candidate, candidates
from tasks_to_try import METHODS as METHODS_OF_TASKS
from tasks_to_try import TaskCandidate, task_candidates
from torch import Tensor, nn
from tried_models_page import METHODS, RESULTS, write_page

import vitcam
from vitcam.errors import VitcamError
from vitcam.explaining.targets import score_of
from vitcam.heatmap import to_grid
from vitcam.methods import agcam
from vitcam.recording import Need, Score, block_input, find_logits, record

SECONDS = 900


def main(patterns: Sequence[str]) -> None:
    """Tries what is asked for, each in a process of its own, and writes the page."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    import open_clip  # noqa: F401  # once, and not in every process
    import timm  # noqa: F401
    import transformers  # noqa: F401

    context = multiprocessing.get_context("fork")
    for candidate in chain(candidates(), task_candidates()):
        key = f"{candidate.library}: {candidate.name}"
        if patterns and not any(pattern in key for pattern in patterns):
            continue
        here, there = context.Pipe()
        try_it = asked if isinstance(candidate, TaskCandidate) else tried
        process = context.Process(target=lambda c, pipe, f=try_it: pipe.send(f(c)), args=(candidate, there))
        process.start()
        there.close()
        try:
            result = here.recv() if here.poll(SECONDS) else {"failed": f"not done after {SECONDS} s"}
        except EOFError:
            result = {"failed": "the process died"}
        process.kill()
        process.join()
        task = {"task": candidate.task} if isinstance(candidate, TaskCandidate) else {}
        results[key] = {"library": candidate.library, "family": candidate.family, **task, **result}
        print(key, json.dumps(result)[:600], flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_page(results)


def tried(candidate: Candidate) -> dict[str, Any]:
    """What happens when a model is built and explained by each method."""
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        model = perturbed(candidate.build().eval())
    except Exception:  # whatever a library raises when it can't build its own model
        return {"not built": traceback.format_exc()[-900:]}
    images, score = usable(model, candidate)
    found: dict[str, Any] = {
        "size": images.shape[-1],
        "parameters": sum(p.numel() for p in model.parameters()),
        "methods": {method: outcome(model, images, method, score) for method in METHODS},
    }
    try:
        found |= layout(model, images, score)
    except VitcamError:
        pass
    except Exception:
        found["failed"] = traceback.format_exc()[-900:]
    return found


def asked(candidate: TaskCandidate) -> dict[str, Any]:
    """What happens when a model of another task is asked by each method."""
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        built, given = candidate.build()
        model = perturbed(built)
    except Exception:  # whatever a library raises when it can't build its own model
        return {"not built": traceback.format_exc()[-900:]}
    return {
        "shape": list(given.shape[1:]),
        "parameters": sum(p.numel() for p in model.parameters()),
        "methods": {method: answered(model, given, method, candidate) for method in METHODS_OF_TASKS},
    }


def answered(model: nn.Module, given: Tensor, method: str, candidate: TaskCandidate) -> str:
    """'ok', the text of vitcam's error, or what is wrong with the maps of two inputs, and of the first alone."""
    first = {name: value[:1] for name, value in candidate.inputs.items()}
    targets = candidate.targets
    try:
        e = vitcam.explain(model, given, method, targets=targets, inputs=candidate.inputs or None)
        alone = targets[:1] if isinstance(targets, list) else targets
        one = vitcam.explain(model, given[:1], method, targets=alone, inputs=first or None)
    except VitcamError as error:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"FAILED {traceback.format_exc()[-700:]}"
    wrong = wrong_with(e.heatmaps, one.heatmaps, method)
    return f"FAILED {', '.join(wrong)}" if wrong else "ok"


def wrong_with(maps: Tensor, of_first: Tensor, method: str) -> list[str]:
    """What is wrong with the maps of a batch, given those of its first image alone."""
    if not maps.isfinite().all():
        return ["not finite"]
    if (maps.flatten(2).std(dim=2) == 0).any() and method != "gradcam":  # whose ReLU can leave nothing
        return ["constant"]
    return [] if close(of_first, maps[:1]) else ["another map alone than in a batch"]


def perturbed(model: nn.Module) -> nn.Module:
    """The model with no parameter at zero and no layer scaled away, and with attention that isn't uniform."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_((0.02 if parameter.dim() > 1 else 0.1) * torch.randn_like(parameter))
    return model


def usable(model: nn.Module, candidate: Candidate) -> tuple[Tensor, Any]:
    """Images of the first size that the model takes, and the score that is explained."""
    for size in candidate.sizes:
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
        try:
            with torch.no_grad():
                output = model(images)
        except Exception:  # not a size for this model, or a model that takes no images
            continue
        return images, None if find_logits(output) is not None else features
    return images, None


def features(output: Any) -> Tensor:
    """The first two features of an encoder without a head."""
    while isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        pooled = getattr(output, "pooler_output", None)
        output = output.last_hidden_state if pooled is None else pooled
    if output.dim() == 4:
        output = output.flatten(2).mean(2)
    return output[:, :2] if output.dim() == 2 else output.mean(1)[:, :2]


def outcome(model: nn.Module, images: Tensor, method: str, score: Any) -> str:
    """'ok', the text of vitcam's error, or what is wrong."""
    try:
        e = vitcam.explain(model, images, method, targets=score or [[0, 3], [5, 1]])
        one = vitcam.explain(model, images[:1], method, targets=score or [[0, 3]])
    except VitcamError as error:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"FAILED {traceback.format_exc()[-700:]}"
    wrong = wrong_with(e.heatmaps, one.heatmaps, method)
    if not wrong and method == "agcam" and not close(without_replay(model, images, score), e.heatmaps):
        wrong = ["another map without the replay"]
    return f"FAILED {', '.join(wrong)}" if wrong else "ok"


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=1e-3 * float(other.abs().max()) + 1e-8)


def without_replay(model: nn.Module, images: Tensor, score: Any) -> Tensor:
    """agcam with all tokens taking part, of one image at a time, as some models want it."""
    maps = []
    for image, targets in zip(images.split(1), ([[0, 3]], [[5, 1]]), strict=True):
        chosen = score_of(score or targets, 1, None)
        recording = record(model, image, chosen, Need.SKIP_GRADIENT, allow_replay=False)
        maps.append(to_grid(agcam.agcam(recording), recording.layout.grid))
    return torch.cat(maps)


def layout(model: nn.Module, images: Tensor, score: Any) -> dict[str, Any]:
    """What was found about the model, and whether its tokens lie where they are said to lie."""
    chosen = Score(function=score) if score else Score(lambda logits: logits.argmax(1, True))
    recording = record(model, images[:1], chosen, Need.MAPS)
    found = recording.layout
    grid = found.grid
    result: dict[str, Any] = {
        "grid": f"{grid.height}×{grid.width}",
        "prefix": grid.prefix,
        "layers": len(recording.layers),
        "obstacle": found.obstacle,
        "blocks": len(found.blocks),
    }
    if found.obstacle or not found.blocks:
        return result
    for row, column in ((0, 0), (grid.height // 2, 1), (1, grid.width - 2)):
        height, width = images.shape[-2] / grid.height, images.shape[-1] / grid.width
        changed = images[:1].clone()
        changed[
            ...,
            int(row * height) : int((row + 1) * height),
            int(column * width) : int((column + 1) * width),
        ] *= -1
        before, after = (tokens(model, image, found) for image in (images[:1], changed))
        if before is None or after is None:
            return {**result, "places": "unseen"}
        moved = (before - after).norm(dim=-1)[0]
        answering = int(moved.argmax()) - grid.prefix
        distance = max(abs(answering // grid.width - row), abs(answering % grid.width - column))
        if distance > 1 or (distance == 1 and int((moved > 0).sum()) == 1):
            return {**result, "places": f"FAILED ({row}, {column}) is token {answering} after the prefix"}
    return {**result, "places": "ok"}


def tokens(model: nn.Module, image: Tensor, found: Any) -> Tensor | None:
    seen: list[Tensor] = []
    watched = block_input(model, found.blocks[0], 1, found.tokens, lambda t: seen.append(t.clone()) or t)
    with torch.no_grad(), watched:
        model(image)
    return seen[0] if seen else None


if __name__ == "__main__":
    main(sys.argv[1:])
