"""Feature maps at a point of a model, such as the first norm of its last block, where the CAM family looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.recording.binding import Inputs
from vitcam.recording.feature_places import FeaturePlaces, feature_places
from vitcam.recording.gradients import backward
from vitcam.recording.layout import Layout
from vitcam.recording.passes import Pass
from vitcam.recording.points import Point
from vitcam.recording.score import logits_of
from vitcam.types import PatchGrid

# From logits, targets and what they are compared with (None: nothing) to scores (batch, targets).
OtherScore = Callable[[Tensor, Tensor, Tensor | None], Float[Tensor, "batch targets"]]


@dataclass(frozen=True)
class FeatureNeed:
    """What a method needs of a feature map.

    Attributes:
        layer, at: the point, see :class:`Point`.
        gradient: whether the gradient of the score is needed, too.
        score: another score than that which is explained, whose gradient it is: a function of the logits, the targets
            and what they are compared with. One that equals another shares its pass.

    Raises:
        MethodError: there are no such points.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score, need = Score(choose=lambda logits: logits.topk(5).indices), FeatureNeed(layer=3, at="block")
        >>> recording = record(model, images, score, Need.NOTHING, features=[need])
        >>> found = recording.features[need]
        >>> found.by_patch.shape, found.gradient_by_patch.shape
        (torch.Size([8, 196, ...]), torch.Size([8, 5, 196, ...]))
    """

    layer: int | str = -1
    at: str = "norm1"
    gradient: bool = True
    score: OtherScore | None = None

    def __post_init__(self) -> None:
        """Checks the point."""
        _ = self.point

    @property
    def point(self) -> Point:
        """Where it is."""
        return Point(self.layer, self.at)


@dataclass(frozen=True)
class Features:
    """What a module gave, and the gradient of a score with respect to it.

    Attributes:
        activation: as the model lays it out, batch first: (batch, tokens, channels) in a plain ViT, or
            (batch, height, width, channels), or (batch, channels, height, width).
        gradient: the ordinary ∂y/∂activation, for every target; None if it wasn't asked for.
        places: which of its values are which places of the image.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score, need = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True)), FeatureNeed()
        >>> record(model, images, score, Need.NOTHING, features=[need]).features[need].grid
        PatchGrid(height=14, width=14, prefix=1, order=(), region=None)
    """

    activation: Float[Tensor, "batch ..."]
    gradient: Float[Tensor, "batch targets ..."] | None
    places: FeaturePlaces

    @property
    def grid(self) -> PatchGrid | None:
        """How the places lie over the image; None where that couldn't be confirmed."""
        return self.places.grid

    @property
    def by_patch(self) -> Float[Tensor, "batch patches channels"]:
        """The activation at the patches, in the order of the patch grid, in float32."""
        return self._by_patch(self.activation)

    @property
    def gradient_by_patch(self) -> Float[Tensor, "batch targets patches channels"]:
        """The gradient at the patches, likewise."""
        assert self.gradient is not None
        flat = self._by_patch(self.gradient.flatten(0, 1))
        return flat.reshape(*self.gradient.shape[:2], *flat.shape[1:])

    def _by_patch(self, values: Tensor) -> Tensor:
        assert self.grid is not None
        patches: Tensor = self.places.by_place(values.float())[:, self.grid.patches]
        return patches


def wanted_points(needs: Sequence[FeatureNeed]) -> dict[Point, bool]:
    """The points, and whether a gradient must come back to what is there."""
    wanted: dict[Point, bool] = {}
    for need in needs:
        wanted[need.point] = wanted.get(need.point, False) or need.gradient
    return wanted


def wanted_of_pass(needs: Sequence[FeatureNeed], run: Pass) -> list[FeatureNeed]:
    """Those needs of a gradient whose point was met in a pass."""
    return [need for need in needs if need.gradient and need.point in run.features]


def own_gradients(
    needs: Sequence[FeatureNeed],
    run: Pass,
    targets: Int[Tensor, "batch targets"],
    versus: Int[Tensor, "batch targets"] | None,
) -> dict[FeatureNeed, Tensor]:
    """The gradients of the scores that needs have of their own; each score goes back through the pass once.

    The pass keeps its graph.
    """
    found: dict[FeatureNeed, Tensor] = {}
    wanted = wanted_of_pass(needs, run)
    for score in dict.fromkeys(need.score for need in wanted if need.score is not None):
        same = [need for need in wanted if need.score == score]
        scores = score(logits_of(run.output), targets, versus)
        tensors = backward(scores, [run.features[need.point] for need in same], retain_graph=True)
        found |= dict(zip(same, tensors, strict=True))
    return found


def features_of(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    layout: Layout,
    inputs: Inputs,
    run: Pass,
    gradients: Mapping[FeatureNeed, Tensor],
    needs: Sequence[FeatureNeed],
) -> dict[FeatureNeed, Features]:
    """The feature maps of a pass that were asked for and found, with their gradients and places."""
    return {
        need: Features(
            run.features[need.point].detach(),
            gradients.get(need),
            feature_places(model, images[:1], layout, need.point, inputs.of(0, 1)),
        )
        for need in needs
        if need.point in run.features
    }
