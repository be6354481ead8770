"""Probability curves of a perturbation test."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


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


def columns_of(curves: Curves, prefix: str) -> dict[str, Float[Tensor, batch * points]]:
    """What a run's rows hold of curves."""
    return {
        f"{prefix}lerf": curves.lerf,
        f"{prefix}morf": curves.morf,
        f"{prefix}auc_lerf": curves.auc_lerf,
        f"{prefix}auc_morf": curves.auc_morf,
        f"{prefix}abpc": curves.abpc,
    }
