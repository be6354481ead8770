"""A model over images, batch by batch, recorded: what ``explain``, ``compare`` and ``decompose`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from vitcam.answers import AnswerKind
from vitcam.errors import ImageError, ModelError, OneByOneError, TargetError
from vitcam.explaining.about import about_model
from vitcam.explaining.arguments import MoreInputs, inputs_of, refuse_patches, unpacked
from vitcam.explaining.asked import Asked, Versus, score_of_asked
from vitcam.explaining.inputs import Batch, Images, batches, listed
from vitcam.explaining.regression import as_values
from vitcam.explaining.targets import ClassIndex, Targets, anything, most_probable
from vitcam.explaining.tiles import TiledPicture
from vitcam.inputs import PICTURE, InputKind, arranged_as_picture, told
from vitcam.inputs.kind import Bands
from vitcam.models.device import on_device, sent_to
from vitcam.models.loaded import LoadedModel
from vitcam.models.promptable import ImageTower
from vitcam.progress import Watcher, watched
from vitcam.recording import Inputs, Need, Recording, Score, record

AnyModel = nn.Module | LoadedModel
Result = TypeVar("Result")


def for_each_batch(
    use: Callable[[Recording, Batch, LoadedModel | None], Result],
    model: AnyModel,
    images: Images | TiledPicture,
    targets: Targets,
    needs: Need,
    *,
    batch_size: int | None,
    device: str | torch.device | None,
    inputs: MoreInputs = None,
    only_first: bool = False,
    progress: bool | Watcher = False,
    versus: Versus = None,
    score: str = "logit",
    direction: str = "up",
    kind: str | None = None,
    bands: Bands = None,
    **options: Any,
) -> list[Result]:
    """What ``use`` makes of the recording of each batch.

    Args:
        use: gets a recording, its batch, and the loaded model, if it is one; for a CLIP model, with its prompts.
        model, images, targets, batch_size, device: as for :func:`vitcam.explain`.
        needs: what to record.
        inputs: further arguments of the model's forward; see :func:`vitcam.explain`.
        only_first: whether nothing is made of more than the first batch.
        progress, versus, score, direction, kind, bands: see :func:`vitcam.explain`.
        **options: of :func:`vitcam.recording.record`.

    Raises:
        ImageError, TargetError, ModelError: as for :func:`vitcam.explain`.

    Example:
        >>> logits = for_each_batch(
        ...     lambda recording, batch, loaded: recording.logits,
        ...     *(model, images, None, Need.NOTHING),
        ...     batch_size=5,
        ...     device=None,
        ... )
        >>> [each.shape for each in logits]
        [torch.Size([5, 1000]), torch.Size([3, 1000])]
    """
    loaded, module = (model, model.module) if isinstance(model, LoadedModel) else (None, model)
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"expected a loaded model or a torch.nn.Module, got {module!r}. vitcam.load_model('timm:…') makes one "
            "from a specification"
        )
    images, name, came_along = unpacked(images)
    if isinstance(inputs, Mapping):
        refuse_patches(inputs)
    laid, arrangement = _arranged(images, module, loaded, kind)
    images, total = laid, len(laid)
    if loaded is not None and isinstance(targets, AnswerKind) and isinstance(module, ImageTower):
        module = module.tower
    elif loaded is not None and loaded.promptable and (_is_prompts(targets) or not loaded.class_names):
        loaded, targets, versus = _with_prompts(loaded, targets, versus, total)
        module = loaded.module
    targets = as_values(targets, module)
    class_index = None if loaded is None else loaded.class_index
    bound = replace(inputs_of(module, name, [came_along, inputs or {}], total), axes=arrangement.order)
    asked = Asked(
        targets, versus, score, multi_label=loaded is not None and loaded.multi_label, direction=direction
    )
    if isinstance(targets, AnswerKind):
        about = about_model(module, loaded, laid, batch_size, device, bound, arrangement.kind)
        asked = replace(asked, targets=targets.prepared(about))
    score_of_asked(asked, total, class_index)  # what doesn't fit is said before any work is done

    results: list[Result] = []
    # Gradients are needed whatever the caller has switched off around this call.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        on_device(module, device) as where,
        closing(batches(images, loaded, batch_size, arrangement.kind, bands)) as found,
        watched(progress, "tile" if isinstance(images, TiledPicture) else "image") as tell,
    ):
        for batch in found:
            scored = partial(_score, asked, total, class_index)
            for part, recording in _recorded(module, batch, scored, needs, where, bound, options):
                with torch.autocast(where.type, enabled=False):  # the caller's, likewise
                    results.append(use(recording, part, loaded))
            tell(batch.start + len(batch.tensor), total)
            if only_first:
                break
    return results


class _Arrangement(NamedTuple):
    """The kind of what is explained, and the order of the axes in which the model takes it; see ``InputKind``."""

    kind: InputKind
    order: tuple[int, ...]


def _arranged(
    images: Any, module: nn.Module, loaded: LoadedModel | None, kind: str | None
) -> tuple[Tensor | TiledPicture | list[Any], _Arrangement]:
    """What is explained, a tensor with its axes as vitcam goes by them."""
    if isinstance(images, TiledPicture):
        return images, _Arrangement(PICTURE, ())
    if not isinstance(images, Tensor):
        if loaded is None:
            return listed(images), _Arrangement(PICTURE, ())
        own = loaded.preprocessing.kind
        if kind not in (None, own.name):
            raise ImageError(
                f"{loaded.spec} takes files of the kind {own.name!r}, not {kind!r}: leave out kind="
            )
        return listed(images, own), _Arrangement(own, loaded.preprocessing.order)
    found = _Arrangement(*told(module, images, kind))
    if found.kind is PICTURE:
        return listed(images), found
    return listed(arranged_as_picture(images, found.order), found.kind), found


def any_targets(model: AnyModel) -> Targets:
    """Targets for what has nothing to do with classes; it does without a classification head, or a text."""
    if isinstance(model, LoadedModel) and model.promptable and not model.class_names:
        return "a photo"
    return anything


def _recorded(
    module: nn.Module,
    batch: Batch,
    score: Callable[[Batch], Score],
    needs: Need,
    where: torch.device,
    inputs: Inputs,
    options: Mapping[str, Any],
) -> Iterator[tuple[Batch, Recording]]:
    """The recording of a batch; of each of its images, if the model takes them one by one."""

    def recorded(some: Batch) -> Recording:
        own = inputs.of(some.start, len(some.tensor)).mapped(partial(sent_to, where))
        return record(module, sent_to(where, some.tensor), score(some), needs, inputs=own, **options)

    try:
        yield batch, recorded(batch)
    except OneByOneError:
        for index in range(len(batch.tensor)):
            single = Batch(
                batch.start + index,
                batch.tensor[index : index + 1],
                batch.photographs[index : index + 1],
                batch.names[index : index + 1],
                batch.kind,
            )
            yield single, recorded(single)


def _score(asked: Asked, total: int, class_index: ClassIndex | None, batch: Batch) -> Score:
    count = len(batch.tensor)
    return score_of_asked(asked.part(batch.start, count, total), count, class_index)


def by_prompts(model: AnyModel, targets: Targets) -> bool:
    """Whether targets are texts that become the classes of a CLIP model."""
    return isinstance(model, LoadedModel) and model.promptable and _is_prompts(targets)


def _is_prompts(targets: Targets) -> TypeGuard[str | Sequence[str]]:
    if isinstance(targets, str):
        return most_probable(targets) is None
    return isinstance(targets, Sequence) and bool(targets) and all(isinstance(one, str) for one in targets)


def _with_prompts(
    loaded: LoadedModel, targets: Targets, versus: Versus, images: int
) -> tuple[LoadedModel, Targets, Versus]:
    """A CLIP model whose classes are the prompts, those that are targets explained for every image."""
    if not _is_prompts(targets):
        raise TargetError(
            f"{loaded.spec} has no classes of its own: give text prompts as targets, such as "
            f"targets=['a photo of a cat', 'a photo of a dog']; got {targets!r}"
        )
    prompts = [targets] if isinstance(targets, str) else list(targets)
    asked = [list(range(len(prompts)))] * images
    if versus is None:
        return loaded.with_prompts(prompts), asked, None
    if not _is_prompts(versus) or (not isinstance(versus, str) and len(versus) not in (1, len(prompts))):
        raise TargetError(
            f"{loaded.spec} has no classes of its own: give a text prompt as versus, such as versus='a photo of a "
            f"dog', or one for each of the targets; got {versus!r}"
        )
    others = [versus] if isinstance(versus, str) else list(versus)
    every = list(dict.fromkeys([*prompts, *others]))
    if len(set(prompts)) < len(prompts):
        raise TargetError(f"with versus= each text prompt can be a target once; got {prompts!r}")
    against = [[every.index(other) for other in others]] * images
    return loaded.with_prompts(every), asked, against
