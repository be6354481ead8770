"""SRG, AOPC and LOdds: further readings of the curves that ABPC, ROAD, insertion and deletion are made from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.insertion_deletion import InsertionDeletion, filled_curves_of
from vitcam.evaluation.metrics.perturbation import Curves, curves_of
from vitcam.evaluation.metrics.road import imputed_curves_of


def symmetric_relevance_gain(curves: Curves | InsertionDeletion) -> Float[Tensor, " batch"]:
    """The Symmetric Relevance Gain, the area between two curves of pixel flipping, from both ends; higher is better.

    SRG = area(least influential first) − area(most influential first). Of ``Curves`` that is their ABPC. Of insertion
    and deletion it is AUC(insertion) − AUC(deletion), since a curve of insertion is that of the least influential
    pixels' removal, read from its other end: inserting the k most important pixels leaves the others removed.

    No forward pass besides those of the curves.

    Source: Blücher et al. 2024, "Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI Benchmarks",
    arXiv 2405.02067. There whole superpixels are flipped; here pixels are.

    Example:
        >>> curves = Curves(torch.tensor([0.0, 1.0]), torch.tensor([[0.9, 0.1]]), torch.tensor([[0.9, 0.3]]))
        >>> symmetric_relevance_gain(curves)
        tensor([0.1000], dtype=torch.float64)
    """
    if isinstance(curves, Curves):
        return curves.abpc
    return curves.auc_insertion - curves.auc_deletion


def aopc(curves: Curves) -> Float[Tensor, " batch"]:
    """The area over the MoRF curve, AOPC = mean over k = 0…L of p(0) − p(k); higher is better.

    p(k) is the target class's probability after k of L steps. No forward pass besides those of the curves.

    Source: Samek et al. 2015, arXiv 1509.06321. There 100 regions of 9×9 pixels become noise, and the class's score
    is followed; here it is what the curves have, as in papers on ViTs.

    Example:
        >>> aopc(Curves(torch.tensor([0.0, 1.0]), torch.tensor([[0.9, 0.1]]), torch.tensor([[0.9, 0.3]])))
        tensor([0.4000], dtype=torch.float64)
    """
    morf = curves.morf.double()
    return (morf[:, :1] - morf).mean(dim=1)


def log_odds(curves: Curves) -> Float[Tensor, " batch"]:
    """LOdds = mean over k = 0…L of log(p(k) / p(0)) on the MoRF curve; lower is better.

    p(k) is the target class's probability after k of L steps, at least float32's smallest normal number. No forward
    pass besides those of the curves.

    Source: Qiang et al. 2022, AttCAT; Shrikumar et al. 2017, arXiv 1704.02685, where it is the difference of two
    classes' logits.

    Example:
        >>> log_odds(Curves(torch.tensor([0.0, 1.0]), torch.tensor([[0.8, 0.2]]), torch.tensor([[0.8, 0.3]])))
        tensor([-0.6931], dtype=torch.float64)
    """
    logs = curves.morf.double().clamp(min=torch.finfo(torch.float32).tiny).log()
    return (logs - logs[:, :1]).mean(dim=1)


def gained(case: PerturbationCase) -> Numbers:
    """The columns of ``srg``, of the fills that are defined: clips and volumes are neither blurred nor imputed."""
    by_fill: dict[str, Curves | InsertionDeletion] = {**filled_curves_of(case), "grey": curves_of(case)}
    if case.images.dim() == 4:
        by_fill["imputed"] = imputed_curves_of(case)
    return {f"srg_{fill}": symmetric_relevance_gain(curves) for fill, curves in by_fill.items()}


def over_curve(case: PerturbationCase) -> Numbers:
    """The column of ``aopc``."""
    return {"aopc": aopc(curves_of(case))}


def in_log_odds(case: PerturbationCase) -> Numbers:
    """The column of ``lodds``."""
    return {"lodds": log_odds(curves_of(case))}
