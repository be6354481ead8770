"""Joins model, recording, methods and heatmaps: ``explain`` and ``compare``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image

from vitcam.errors import MethodError, VitcamWarning
from vitcam.explaining.arguments import MoreInputs
from vitcam.explaining.asked import Versus
from vitcam.explaining.batches import AnyModel, for_each_batch
from vitcam.explaining.explanation import Explanation
from vitcam.explaining.figures import figure
from vitcam.explaining.inputs import Batch, Images
from vitcam.explaining.joining import join
from vitcam.explaining.noise import warn_of_noise
from vitcam.explaining.notebook import as_html, as_png
from vitcam.explaining.targets import Targets
from vitcam.explaining.text import text_tokens
from vitcam.explaining.tiles import TiledPicture, Tiles
from vitcam.explaining.tiling import explain_tiles
from vitcam.heatmap import to_grid
from vitcam.inputs.kind import Bands
from vitcam.methods import Method, canonical_name, compute, find_method, grid_of
from vitcam.methods.gradient_rules import features_without_rules, needs_without_rules, recordings
from vitcam.models.loaded import LoadedModel
from vitcam.progress import Watcher
from vitcam.recording import Overrides, Precision, Recording
from vitcam.types import Answered


class Comparison(dict[str, Explanation]):
    """Explanations of the same images and classes, by the methods' names. In a notebook it shows itself as a picture.

    Example:
        >>> both = vitcam.compare(photo_model, photo, ["agcam", "rollout"], targets=["cat", "cup"])
        >>> list(both), both["rollout"].label()
        (['agcam', 'rollout'], 'cat')
        >>> both.figure(boxes=0.5).save("figure.png")
    """

    def figure(self, **options: Any) -> Image.Image:
        """The figure of all of them: see :func:`vitcam.figure`.

        Args:
            **options: of :func:`vitcam.figure`.
        """
        return figure(self, **options)

    def _repr_html_(self) -> str:
        return as_html(self)

    def _repr_png_(self) -> bytes | None:
        return as_png(self)


def explain(
    model: AnyModel,
    images: Images,
    method: str = "agcam",
    targets: Targets = None,
    *,
    versus: Versus = None,
    score: str = "logit",
    direction: str = "up",
    inputs: MoreInputs = None,
    precision: Precision = "fp32",
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    compile: bool = False,
    grid: tuple[int, ...] | None = None,
    prefix: int | None = None,
    first_block: str | None = None,
    kind: str | None = None,
    bands: Bands = None,
    tiles: Tiles = None,
    progress: bool | Watcher = False,
    **options: Any,
) -> Explanation:
    """Where a Vision Transformer looks in images when it decides for classes.

    Args:
        model: a loaded model, or any ``nn.Module`` that returns logits (a tensor, something with ``logits``,
            or a tuple's first). It is left exactly as it was.
        images: a normalised float tensor (batch, channels, height, width) of any size the model takes, or of a clip,
            sound or volume as the model takes it (see ``kind``); or paths, open
            files, their bytes, PIL images or arrays, one or a list, which a loaded model preprocesses itself. The
            path of a folder means all images in it and below it, a pattern (``"photos/*.jpg"``) its matches,
            sorted; ``Explanation.names`` says which image is which. A dictionary such as a Hugging
            Face ``BatchFeature`` will do: its ``pixel_values``, or its one tensor of images, are explained, and its
            other entries are inputs.
        method: the name of a method, see ``vitcam.methods.METHODS``; options may stand in brackets.
        targets: what to explain: None (the predicted class of each image), a class index, a class name,
            ``"top5"``, a sequence, array or tensor (batch,) or (batch, targets), or a function from the model's
            output to scores (batch,) or (batch, targets). For a CLIP model, text prompts. Or an answer of another
            kind than a class: :func:`vitcam.similar_to`, :func:`vitcam.value`, :func:`vitcam.detections`,
            :func:`vitcam.region`, :func:`vitcam.matching`, :func:`vitcam.next_token`. Of a model that gives numbers
            by its configuration (``problem_type="regression"``) None, an index and a name are :func:`vitcam.value`.
        versus: another class, of which the score is taken away, so that the map says why the one and not the other: a
            class index or name, a sequence or tensor of one for each image, or (batch, targets). For a CLIP model, a
            text prompt.
        score: what a class is scored by, and what is differentiated: its "logit"; or its "probability", the softmax
            of the logits, or their sigmoid where an image can have several classes or there is a single logit. Where
            the model is sure, probabilities hardly change, and their gradients may vanish.
        direction: "up", what makes the score larger; or "down", what makes it smaller: the map of the negative score.
        inputs: further arguments of the model's forward, by name: text ids, a second picture, switches such as
            ``{"interpolate_pos_encoding": True}``. Tensors and lists with as many rows as there are images belong to
            them, row by row; anything else is passed as it is.
        precision: "fp32", "bf16" or "fp16", of the forward pass; maps are accumulated in fp32.
        batch_size: how many images go through the model at a time; None: all of a tensor, 8 of other images.
        device: where to run, e.g. "cuda" or "auto"; None: where the model is.
        compile: compile the transformer blocks with ``torch.compile``, once per model, precision and size, which
            takes a minute. Same maps to rounding. Made for GPUs; on CPUs it doesn't help (measured: 17 % more time
            in fp32, the same in bf16). It is the forward pass of methods that send no gradient back through it
            which is compiled (``agcam`` with a class token, ``attention``, ``rollout``); others run as ever.
        grid: (rows, columns) of patches, where what is found doesn't fit; of a clip or volume three numbers.
        prefix: the number of tokens in front of the first patch, likewise.
        first_block: the name of the first transformer block, likewise.
        kind: of input, "picture", "video", "sound" or "volume"; None: told by the axes of a tensor and by the model.
        bands: which channels of a tensor are shown as red, green and blue, one for all or three, counted from 0;
            None: the first three, of 13 those of Sentinel-2.
        tiles: (size, overlap) in pixels, for a picture beyond the model's size: it is cut into tiles, which overlap,
            are explained, and stitched into one map. Tiles of a photograph are resized to the model's size if theirs
            is another. Without targets, the class with the highest mean logit over all tiles is explained.
            ``Explanation.tile_logits`` says what each tile is.
        progress: True for a progress bar, in a notebook or on stderr; or a function that is called with how many
            images are done, and how many there are, after each batch.
        **options: the method's own, e.g. ``layer=5`` for ``attention``.

    Raises:
        ImageError: an image can't be read, or the tensor's shape, type or values are wrong.
        TargetError: a class doesn't exist, or the targets don't fit the batch.
        MethodError: there is no such method or option, or it isn't defined for this model.
        ModelError: the model can't be looked into, has no attention, its tokens don't fit a grid, the score doesn't
            depend on any attention, or the model can't be compiled.

    Example:
        >>> e = vitcam.explain(model, images, targets="top5")
        >>> e.heatmaps.shape
        torch.Size([8, 5, 14, 14])
        >>> vitcam.explain(photo_model, photo, targets="cat", versus="cup").label()
        'cat versus cup'
    """
    chosen = find_method(method, options)
    (explanation,) = _explain(
        [chosen],
        model,
        images,
        targets,
        versus=versus,
        score=score,
        direction=direction,
        batch_size=batch_size,
        device=device,
        precision=precision,
        inputs=inputs,
        given=Overrides(grid, prefix, first_block),
        compile=compile,
        kind=kind,
        bands=bands,
        tiles=tiles,
        progress=progress,
    )
    return explanation


def compare(
    model: AnyModel,
    images: Images,
    methods: Sequence[str],
    targets: Targets = None,
    *,
    versus: Versus = None,
    score: str = "logit",
    direction: str = "up",
    inputs: MoreInputs = None,
    precision: Precision = "fp32",
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    compile: bool = False,
    grid: tuple[int, ...] | None = None,
    prefix: int | None = None,
    first_block: str | None = None,
    kind: str | None = None,
    bands: Bands = None,
    tiles: Tiles = None,
    progress: bool | Watcher = False,
) -> Comparison:
    """Several methods on the same images; they share the forward pass and the gradients.

    Args:
        methods: names, with options in brackets: ``["agcam", "attention(layer=5)"]``.
        model, images, targets, versus, score, direction, inputs, precision: as for :func:`explain`.
        batch_size, device, compile, grid, prefix, first_block, kind, bands, tiles, progress: likewise.

    Returns:
        From each method's canonical name to its explanation, in the order of ``methods``: a dictionary that draws
        itself, see :class:`vitcam.Comparison`.

    Raises:
        MethodError: no methods were given, or one twice; else as for :func:`explain`.

    Example:
        >>> both = vitcam.compare(model, images, methods=["agcam", "rollout"])
        >>> list(both)
        ['agcam', 'rollout']
    """
    if isinstance(methods, str) or not methods:
        raise MethodError(
            f"methods must be a list of method names, such as ['agcam', 'rollout']; got {methods!r}"
        )
    chosen = [find_method(name) for name in methods]
    names = [canonical_name(method, options) for method, options in chosen]
    if len(set(names)) < len(names):
        raise MethodError(f"the same method was given twice: {', '.join(names)}")
    explanations = _explain(
        chosen,
        model,
        images,
        targets,
        versus=versus,
        score=score,
        direction=direction,
        batch_size=batch_size,
        device=device,
        precision=precision,
        inputs=inputs,
        given=Overrides(grid, prefix, first_block),
        compile=compile,
        kind=kind,
        bands=bands,
        tiles=tiles,
        progress=progress,
    )
    return Comparison(zip(names, explanations, strict=True))


def _explain(
    methods: Sequence[tuple[Method, Mapping[str, Any]]],
    model: AnyModel,
    images: Images,
    targets: Targets,
    *,
    tiles: Tiles,
    **options: Any,
) -> list[Explanation]:
    if options["versus"] is not None and (
        blind := [method.name for method, _ in methods if not method.class_specific]
    ):
        raise MethodError(
            f"{blind[0]} gives the same map for every class, so that it can't say why one and not another: leave out "
            "versus=, or take a method that is class-specific, such as agcam (see vitcam methods)"
        )

    if tiles is not None:
        _warn_of_blind([method.name for method, _ in methods if not method.class_specific])
    explain_all = partial(_explained, methods)
    explanations = (
        explain_all(model, images, targets, **options)
        if tiles is None
        else explain_tiles(explain_all, model, images, targets, tiles, **options)
    )
    for (_, chosen), explanation in zip(methods, explanations, strict=True):
        warn_of_noise(explanation, chosen.get("budget"))
    photographs = explanations[0].photographs  # the same of all, and known to be
    return [replace(each, photographs=photographs) for each in explanations]


def _warn_of_blind(names: Sequence[str]) -> None:
    if names:
        warnings.warn(
            f"{' and '.join(names)} know{'s' if len(names) == 1 else ''} nothing of the class, and each tile's map "
            "has a scale of its own: compare places within a tile, and not tiles with each other",
            VitcamWarning,
            stacklevel=4,
        )


def _explained(
    methods: Sequence[tuple[Method, Mapping[str, Any]]],
    model: AnyModel,
    images: Images | TiledPicture,
    targets: Targets,
    **options: Any,
) -> list[Explanation]:
    def explained(recording: Recording, batch: Batch, loaded: LoadedModel | None) -> list[Explanation]:
        return [
            _explanation(made, *chosen, batch, loaded)
            for made, chosen in zip(recordings(methods, recording), methods, strict=True)
        ]

    needs, features = needs_without_rules(methods), features_without_rules(methods)
    parts = for_each_batch(explained, model, images, targets, needs, features=features, **options)
    return [join(of_one_method) for of_one_method in zip(*parts, strict=True)]


def _explanation(
    recording: Recording,
    method: Method,
    options: Mapping[str, Any],
    batch: Batch,
    loaded: LoadedModel | None,
) -> Explanation:
    grid = grid_of(method, options, recording)
    size = tuple(batch.tensor.shape[2:])
    targets, logits = recording.targets, recording.logits
    answered: tuple[tuple[Answered, ...], ...] = ()
    if recording.table is not None and recording.score.described is not None:
        answered = recording.score.described(recording.table, targets, (size[-2], size[-1]))
        indices = [[each.class_index for each in row] for row in answered]
        targets, logits = torch.tensor(indices, device=targets.device), None
    values, errors, bands = compute(method, options, recording)
    return Explanation(
        heatmaps=to_grid(values.float(), grid),
        targets=targets,
        logits=logits,
        method=canonical_name(method, options),
        image_size=size,
        photographs=batch.photographs,
        class_names=loaded.class_names if loaded is not None else None,
        multi_label=loaded is not None and loaded.multi_label,
        region=grid.region,
        names=batch.names,
        versus=recording.versus,
        score=recording.score.scale_name,
        errors=None if errors is None else to_grid(errors.float(), grid),
        answered=answered,
        direction="up" if recording.score.sign > 0 else "down",
        kind=batch.kind.name,
        bands=None if bands is None else bands.sums.float(),
        band_sizes=None if bands is None else bands.sizes.float(),
        text=text_tokens(recording, method, loaded),
    )
