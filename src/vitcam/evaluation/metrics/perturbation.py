"""The paper's perturbation test: MoRF, LeRF and the area between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.arranged import by_space
from vitcam.evaluation.metrics.maps import extreme_pixels, images_of, pixel_maps
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, Removal, of_targets, removal_probabilities
from vitcam.recording import Precision


@dataclass(frozen=True)
class Curves:
    """The target class's probability while more and more of each image is removed.

    Attributes:
        fractions: how much is removed at each point, in 0..1.
        morf: most relevant first; falls fast if the heatmap is faithful.
        lerf: least relevant first; stays high if it is.

    Example:
        >>> Curves(torch.tensor([0.0, 1.0]), torch.tensor([[0.9, 0.1]]), torch.tensor([[0.9, 0.3]])).abpc
        tensor([0.1000], dtype=torch.float64)
    """

    fractions: Float[Tensor, " points"]
    morf: Float[Tensor, "batch points"]
    lerf: Float[Tensor, "batch points"]

    @property
    def auc_morf(self) -> Float[Tensor, " batch"]:
        """The plain mean of each MoRF curve's points, in float64; lower is better."""
        return self.morf.double().mean(dim=1)

    @property
    def auc_lerf(self) -> Float[Tensor, " batch"]:
        """The plain mean of each LeRF curve's points, in float64; higher is better."""
        return self.lerf.double().mean(dim=1)

    @property
    def abpc(self) -> Float[Tensor, " batch"]:
        """The area between the perturbation curves, AUC(LeRF) − AUC(MoRF); higher is better, 0 by chance."""
        return self.auc_lerf - self.auc_morf


def columns_of(curves: Curves, prefix: str) -> dict[str, Tensor]:
    """What a run's rows hold of curves."""
    return {
        f"{prefix}lerf": curves.lerf,
        f"{prefix}morf": curves.morf,
        f"{prefix}auc_lerf": curves.auc_lerf,
        f"{prefix}auc_morf": curves.auc_morf,
        f"{prefix}abpc": curves.abpc,
    }


def perturbation_curves(
    model: nn.Module,
    images: Float[Tensor, "images ..."],
    heatmaps: Float[Tensor, heatmaps * grid],
    targets: Int[Tensor, " heatmaps"],
    steps: int = 10,
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Curves:
    """The paper's MoRF and LeRF curves and their ABPC.

    For f = 0, 1/steps, …, 1 the k = ⌊pixels·f⌋ most (MoRF) or least (LeRF) important pixels are set to 0
    **after** normalisation, which is mid-grey with mean = std = 0.5. Importance is the heatmap, upsampled to
    the image (bilinear) and min-maxed. Each point is the target class's probability (softmax); AUC is the
    plain mean of the points, ABPC = AUC(LeRF) − AUC(MoRF).

    Both curves start at the untouched image and end at the all-zero one, which is the same for every image of
    the batch: per heatmap 2·(steps − 1) forward passes, one per image, and one for the batch.

    Upsampling makes runs of equal pixels (every corner of the map is one). Which of them go when not all fit
    in k is decided as in the published code: by ``torch.topk`` on the CPU, wherever the model runs.

    Source: arXiv 2402.04563; MoRF and ABPC: Samek et al. 2017, arXiv 1509.06321.

    Args:
        model: returns logits; left exactly as it was.
        images: normalised, on the model's device; or clips, sounds or volumes, as the model takes them.
        heatmaps: on the patch grid, or in pixels where an explanation has a ``region``; one per image, or several:
            all images' by one method, then all by the
            next. What they have in common is computed once.
        targets: per heatmap, the class whose probability is followed; the ground truth in the paper.
        steps: how finely 0..1 is divided.
        multi_label: a probability is the sigmoid of the class's own logit, instead of a share of the softmax.
        precision: of the forward pass; "bf16" and "fp16" by autocast. Probabilities are fp32.
        batch_size: images in one forward pass.

    Raises:
        ImageError: a heatmap isn't finite.
        MetricError: images, heatmaps and targets don't belong together.
        TargetError: a target isn't one of the model's classes.
        ModelError: the model returns no logits.

    Example:
        >>> e = vitcam.explain(model, images)
        >>> curves = perturbation_curves(model, images, e.heatmaps[:, 0], e.targets[:, 0])
        >>> curves.morf.shape, curves.abpc.shape
        (torch.Size([8, 11]), torch.Size([8]))
    """
    model, images = by_space(model, images)
    importance = pixel_maps(heatmaps, tuple(images.shape[2:])).flatten(1).to(images.device)
    image_of_map = images_of(images, heatmaps, targets)
    count, pixels = importance.shape
    sizes = [pixels * step // steps for step in range(1, steps)]
    removals = [Removal(0, True)]
    removals += [Removal(image, False) for image in image_of_map]
    extremes = _Extremes(importance, sizes)
    removals += [
        Removal(image, partial(extremes.of, i, largest, step))
        for i, image in enumerate(image_of_map)
        for largest in (True, False)
        for step in range(len(sizes))
    ]
    probabilities = removal_probabilities(
        model,
        images,
        images.new_zeros(*images.shape[:2], *[1] * (images.dim() - 2)),
        removals,
        multi_label=multi_label,
        precision=precision,
        batch_size=batch_size,
    )
    end, start, between = probabilities.split([1, count, 2 * count * len(sizes)])
    first, last = of_targets(start, targets), of_targets(end.expand(count, -1), targets)
    inner = of_targets(between.unflatten(0, (count, 2, len(sizes))), targets)
    morf, lerf = (torch.cat([first[:, None], inner[:, i], last[:, None]], dim=1) for i in (0, 1))
    return Curves(torch.linspace(0, 1, steps + 1), morf, lerf)


class _Extremes:
    """The most or least important pixels of maps, as masks that are made where the maps are.

    A comparison with the last value that goes is enough, unless the first that stays has the same value: then
    ``torch.topk`` on the CPU decides which of these go.
    """

    def __init__(self, importance: Float[Tensor, "maps pixels"], sizes: Sequence[int]) -> None:
        self._importance, self._sizes = importance, sizes
        ascending = importance.sort(dim=1).values
        counts = torch.tensor(sizes, dtype=torch.long, device=importance.device).clamp(min=1)
        pixels = importance.shape[1]
        last = {True: ascending[:, pixels - counts], False: ascending[:, counts - 1]}
        kept = {True: ascending[:, pixels - counts - 1], False: ascending[:, counts]}
        self._last = last
        self._alike = {largest: (last[largest] == kept[largest]).tolist() for largest in (True, False)}

    def of(self, row: int, largest: bool, step: int) -> Bool[Tensor, " pixels"]:
        """Of one map, as many as the step's size says."""
        importance, last = self._importance[row], self._last[largest][row, step]
        if not self._sizes[step]:
            return torch.zeros_like(importance, dtype=torch.bool)
        if not self._alike[largest][row][step]:
            return importance >= last if largest else importance <= last
        return extreme_pixels(importance.cpu(), self._sizes[step], largest)


def curves_of(case: PerturbationCase) -> Curves:
    """Those of a case, which several measures are made from."""
    return case.once("perturbation", lambda: perturbation_curves(**case.given, steps=case.steps))


def measured(case: PerturbationCase) -> Numbers:
    """The columns of ``abpc``."""
    return columns_of(curves_of(case), "")
