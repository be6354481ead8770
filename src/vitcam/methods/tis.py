"""Transformer Input Sampling (Englebert et al., ICCV Workshops 2023): masks from activations, tokens left out."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method, Sampled
from vitcam.methods.options import at_least
from vitcam.methods.passes import Passes, generator_of, many_passes
from vitcam.recording import Need, Recording, recorded_blocks

STEPS = 100  # of k-means at most


def tis(
    recording: Recording,
    *,
    budget: int = 1024,
    keep: float = 0.5,
    output: str = "probability",
    seed: int = 0,
) -> Sampled:
    """The mean score of an image of which half of the tokens are left, over the masks that keep a patch.

    ::

        map_j = Σ_i s_i · m_ij / Σ_i m_ij,   s_i the score from the tokens that m_i keeps alone

    Each channel of each block's output is a point, its values over the patches; k-means makes ``budget`` centroids
    of them all, and a mask keeps the patches where its centroid is largest, a share ``keep`` of them. The others are
    left out in front of the first block: nothing is painted over, and a pass costs about ``keep`` of a whole one.

    The standard error is that of the mean over the masks that keep a patch, as if they had been drawn independently.
    Deviations from the authors' code (aenglebert/Transformer_Input_Sampling): the map isn't scaled to 0..1; k-means
    starts from points drawn with a seed; a patch that no mask keeps, which is NaN there, gets the lowest value.

    Args:
        recording: any; its model is run again.
        budget: masks, and forward passes, for each image; all of its classes share them.
        keep: the share of the patches that a mask keeps.
        output: what of a class is followed, "probability" as in the paper, or "logit".
        seed: of the first centroids, with the image's own values.

    Raises:
        MethodError: an option's value is wrong, there are fewer channels than centroids, or the model can't do
            without tokens.

    Returns:
        (batch, targets, patches), with standard errors.

    Example:
        >>> vitcam.explain(photo_model, photo, method="tis", budget=50).heatmaps.shape
        torch.Size([1, 1, 12, 12])
    """
    at_least("tis", "budget", budget, 2, ", which an error can be estimated from")
    at_least("tis", "seed", seed, 0)
    patches = recording.layout.grid.tokens
    if not 0 < keep < 1 or int(keep * patches) < 1:
        raise MethodError(
            f"tis keeps a share between 0 and 1 of the {patches} patches, such as 0.5; not {keep!r}"
        )
    values, errors = [], []
    with many_passes(recording, output) as passes:
        for index, image in enumerate(recording.images):
            points = _channels(passes, index)
            if len(points) < budget:
                raise MethodError(
                    f"tis has {len(points)} channels for budget={budget} masks; give a smaller budget"
                )
            centres = centroids(points, budget, generator_of(image, seed))
            kept = torch.zeros(budget, patches, dtype=torch.bool)
            kept.scatter_(1, centres.topk(int(keep * patches), dim=1).indices, True)
            mean, error = _means(passes.without(index, kept, "tokens").T, kept)
            values.append(mean)
            errors.append(error)
    return Sampled(torch.stack(values), torch.stack(errors))


def _channels(passes: Passes, index: int) -> Float[Tensor, "channels patches"]:
    """What each channel of each block gives for the patches; of the image alone, so that a batch changes no bit."""
    recording, layout = passes.recording, passes.recording.layout
    with recorded_blocks(passes.model, layout.blocks) as returned, recording.only(index):
        passes.model(recording.images[index : index + 1])
    outputs = []
    for block in layout.blocks:
        tokens = returned.get(block)
        tokens = tokens[0] if isinstance(tokens, tuple | list) else tokens
        if not isinstance(tokens, Tensor) or tokens.numel() % layout.tokens or tokens.dim() != 3:
            raise MethodError(
                f"tis isn't defined for {type(passes.model).__name__}: its blocks don't give all tokens in one tensor"
            )
        outputs.append(tokens.float().reshape(layout.tokens, -1)[layout.grid.patches].T)
    if not outputs:
        raise MethodError(
            f"tis isn't defined for {type(passes.model).__name__}: its transformer blocks weren't recognised"
        )
    return torch.cat(outputs).cpu()


def centroids(
    points: Float[Tensor, "points dim"], count: int, draw: torch.Generator
) -> Float[Tensor, "count dim"]:
    """k-means by Lloyd's iteration, from points drawn at random; a centroid that loses all its points stays.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> centroids(points, 2, torch.Generator().manual_seed(0)).sort(dim=0).values.tolist()
        [[0.5], [10.5]]
    """
    centres = points[torch.randperm(len(points), generator=draw)[:count]].clone()
    nearest = torch.full((len(points),), -1)
    for _ in range(STEPS):
        before, nearest = nearest, (centres.square().sum(dim=1) - 2 * points @ centres.T).argmin(dim=1)
        if torch.equal(before, nearest):
            break
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp_min(1), centres)
    return centres


def _means(
    scores: Float[Tensor, "targets masks"], kept: Bool[Tensor, "masks patches"]
) -> tuple[Float[Tensor, "targets patches"], Float[Tensor, "targets patches"]]:
    """The mean score of the masks that keep a patch, and its standard error."""
    shown = kept.to(scores)
    counts = shown.sum(dim=0)
    means = scores @ shown / counts.clamp_min(1)
    squares = ((scores[:, :, None] - means[:, None]).square() * shown).sum(dim=1)
    spread = (squares / (counts - 1).clamp_min(1)).sqrt()
    few = counts < 2  # of which a spread can't be told: that of all masks
    spread = torch.where(few, scores.std(dim=1, keepdim=True), spread)
    lowest = means.masked_fill(counts == 0, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(counts == 0, lowest, means), spread / counts.clamp_min(1).sqrt()


METHOD = Method(
    compute=tis,
    needs=lambda options: Need.NOTHING,
    kind="masked passes",
    summary="mean score from half of the tokens, over the masks that keep a patch",
    passes="budget × half a forward",
    paper="Englebert et al., ICCVW 2023",
    one_stream_only=True,
    many_passes=True,
)
