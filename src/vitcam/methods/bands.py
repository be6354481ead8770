"""How much each band of an input counts: what an attribution at the values comes to, band by band."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.methods.gradient_rules import RULES
from vitcam.methods.method import Bands
from vitcam.methods.relevance.precise import at_least
from vitcam.methods.relevance.tracing import trace
from vitcam.recording import Recording, fast_linear, refuse_in_place

COLOURS = 3


def bands_of(attributions: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels 2"]:
    """Of each band the sum of its attributions over all places, and that of their magnitudes.

    Example:
        >>> bands_of(torch.tensor([[[[1.0, -3.0]], [[2.0, 2.0]]]])).tolist()
        [[[-2.0, 4.0], [4.0, 4.0]]]
    """
    flat = attributions.detach().double().flatten(2)
    return torch.stack([flat.sum(dim=2), flat.abs().sum(dim=2)], dim=2).float()


def input_times_gradient(recording: Recording, rules: str) -> Bands | None:
    """Input × gradient at the values of an input, band by band; by a pass of its own.

    Colours are left out, since they don't tell enough for another pass.

    Args:
        recording: of any model.
        rules: by which gradients come back, see :mod:`vitcam.methods.gradient_rules`.
    """
    images = recording.images
    if images.shape[1] in (1, COLOURS):
        return None
    with recording.resumed() as model, torch.enable_grad(), fast_linear():
        if rules != "plain":
            with torch.autocast(images.device.type, enabled=False):
                traced = trace(model, images, RULES[rules])
                with at_least(torch.float32):
                    scores = recording.scorer()(traced.output)
                found = [
                    traced.images.detach() * traced.relevance(scores[:, target], [traced.images])[0]
                    for target in range(scores.shape[1])
                ]
        else:
            given = images.detach().clone().requires_grad_()
            try:
                scores = recording.scorer()(model(given.clone()))
                found = [
                    given.detach() * torch.autograd.grad(column.sum(), given, retain_graph=True)[0]
                    for column in scores.unbind(dim=1)
                ]
            except RuntimeError as error:
                refuse_in_place(error)
                raise
    return Bands(*torch.stack([bands_of(each) for each in found], dim=1).unbind(dim=3))
