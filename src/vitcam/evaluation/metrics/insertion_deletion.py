"""RISE's causal metrics: delete the important pixels from the image, insert them into a blank one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam.errors import MetricError
from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.arranged import check_by_space
from vitcam.evaluation.metrics.maps import images_of, pixel_maps, pixel_ranks
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, Removal, of_targets, removal_probabilities
from vitcam.recording import Precision

RISE_STEPS = 28


@dataclass(frozen=True)
class InsertionDeletion:
    """The target class's probability while pixels are deleted or inserted, most important first.

    Attributes:
        fractions: of the pixels that are deleted or inserted at each point.
        insertion: rises fast if the heatmap is faithful.
        deletion: falls fast if it is.
    """

    fractions: Float[Tensor, " points"]
    insertion: Float[Tensor, "batch points"]
    deletion: Float[Tensor, "batch points"]

    @property
    def auc_insertion(self) -> Float[Tensor, " batch"]:
        """The area under each insertion curve (trapezoids, float64); higher is better."""
        return torch.trapezoid(self.insertion.double(), self.fractions.double(), dim=1)

    @property
    def auc_deletion(self) -> Float[Tensor, " batch"]:
        """The area under each deletion curve (trapezoids, float64); lower is better."""
        return torch.trapezoid(self.deletion.double(), self.fractions.double(), dim=1)


def insertion_deletion(
    model: nn.Module,
    images: Float[Tensor, "images channels *space"],
    heatmaps: Float[Tensor, "heatmaps ..."],
    targets: Int[Tensor, " heatmaps"],
    fills: Float[Tensor, "images channels ..."],
    steps: int = RISE_STEPS,
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> InsertionDeletion:
    """Insertion and deletion curves.

    At fraction f, deletion replaces the k = ⌊pixels·f⌋ most important pixels of the image with those of its
    fill; insertion replaces those of the fill with those of the image. The curves share their ends: 2·(steps −
    1) forward passes per heatmap, and two per image. Importance is the heatmap, upsampled to the image
    (bilinear); equal pixels go in reading order.

    Source: Petsiuk et al. 2018, RISE, arXiv 1806.07421. There deletion fills with a constant
    and insertion starts from a blurred image; here both use the given fill, so call it once per fill.

    Args:
        fills: what stands where the image is absent: ``blur_fill(images)``, ``mean_fill(images)``, or any.
        steps: 28 are RISE's steps of 1792 pixels at 224×224.
        images: with axes (batch, channels, and those of space), as their fills.
        model, heatmaps, targets, multi_label, precision, batch_size: as for ``perturbation_curves``.

    Raises:
        MetricError: the model takes its inputs with other axes, or as from ``perturbation_curves``.
        ImageError, TargetError, ModelError: as from ``perturbation_curves``.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> given = images, e.heatmaps[:, 0], e.targets[:, 0], blur_fill(images)
        >>> insertion_deletion(model, *given, steps=4).auc_insertion.shape
        torch.Size([8])
    """
    check_by_space(model, images)
    ranks = pixel_ranks(pixel_maps(heatmaps, tuple(images.shape[2:])))
    image_of_map = images_of(images, heatmaps, targets)
    pixels = ranks.shape[1]
    sizes = [pixels * step // steps for step in range(1, steps)]
    ends = [Removal(image, every) for image in image_of_map for every in (False, True)]
    between = [
        Removal(image, partial(chosen, ranks[i], size))
        for i, image in enumerate(image_of_map)
        for chosen in (_before, _from)
        for size in sizes
    ]
    probabilities = removal_probabilities(
        model,
        images,
        fills,
        ends + between,
        multi_label=multi_label,
        precision=precision,
        batch_size=batch_size,
    )
    whole = of_targets(probabilities[: len(ends)].unflatten(0, (-1, 2)), targets)
    inner = of_targets(probabilities[len(ends) :].unflatten(0, (len(image_of_map), 2, steps - 1)), targets)
    untouched, blank = whole[:, :1], whole[:, 1:]
    deletion = torch.cat([untouched, inner[:, 0], blank], dim=1)
    insertion = torch.cat([blank, inner[:, 1], untouched], dim=1)
    return InsertionDeletion(torch.linspace(0, 1, steps + 1), insertion, deletion)


def mean_fill(images: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels ..."]:
    """Each image's own mean colour: of a clip over all frames, of a spectrogram its mean loudness."""
    return images.mean(dim=tuple(range(2, images.dim())), keepdim=True)


def blur_fill(
    images: Float[Tensor, "batch channels *space"], kernel: int = 11, sigma: float = 5.0
) -> Float[Tensor, "batch channels *space"]:
    """Each image, or spectrogram, blurred with a Gaussian of σ = 5, cut off to 11 pixels; borders are mirrored.

    RISE's code has the same two numbers and another kernel: its Gaussian is folded back at the ends of the 11
    pixels, which leaves it nearly flat (7 % between middle and ends), and borders are filled with zeros. So this
    blurs a little less.

    Args:
        images: of at least (kernel + 1)/2 pixels on each side.
        kernel: its width in pixels, odd.
        sigma: in pixels.

    Raises:
        MetricError: the inputs have three axes: σ in pixels says nothing of frames, nor of voxels.
    """
    if images.dim() != 4:
        raise MetricError(
            f"a blur is defined of pictures and spectrograms, (batch, channels, height, width), not of "
            f"{tuple(images.shape)}: of clips and volumes take mean_fill(images), or zeros"
        )
    offsets = torch.arange(kernel, device=images.device, dtype=images.dtype) - kernel // 2
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    column = (weights / weights.sum()).view(1, 1, -1, 1)
    padding = [kernel // 2] * 4
    planes = F.pad(images, padding, mode="reflect").flatten(0, 1).unsqueeze(1)
    return F.conv2d(F.conv2d(planes, column), column.transpose(2, 3)).view_as(images)


def _before(ranks: Int[Tensor, " pixels"], count: int) -> Bool[Tensor, " pixels"]:
    return ranks < count


def _from(ranks: Int[Tensor, " pixels"], count: int) -> Bool[Tensor, " pixels"]:
    return ranks >= count


def filled_curves_of(case: PerturbationCase) -> dict[str, InsertionDeletion]:
    """Those of a case by the name of what fills, which several measures are made from.

    Clips and volumes aren't blurred: see ``blur_fill``.
    """

    def made() -> dict[str, InsertionDeletion]:
        of_two_axes = {"blur": blur_fill(case.images)} if case.images.dim() == 4 else {}
        fills = {**of_two_axes, "mean": mean_fill(case.images)}
        return {
            name: insertion_deletion(**case.given, fills=fill, steps=case.steps)
            for name, fill in fills.items()
        }

    return case.once("insertion-deletion", made)


def measured(case: PerturbationCase) -> Numbers:
    """The columns of ``insertion-deletion``."""
    columns: dict[str, Tensor] = {}
    for name, both in filled_curves_of(case).items():
        columns |= {
            f"insertion_{name}": both.insertion,
            f"deletion_{name}": both.deletion,
            f"auc_insertion_{name}": both.auc_insertion,
            f"auc_deletion_{name}": both.auc_deletion,
        }
    return columns
