"""What a recording holds: one forward pass of a model and what goes back through it, for all methods."""

from __future__ import annotations

import contextlib
import enum
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.across import Across, attention_across
from vitcam.recording.attention import Attention
from vitcam.recording.binding import NO_INPUTS, Inputs, bound
from vitcam.recording.feature_hooks import changed_features
from vitcam.recording.features import FeatureNeed, Features
from vitcam.recording.gradients import Gradient, LayerGradients
from vitcam.recording.head import Head
from vitcam.recording.layout import Layout
from vitcam.recording.rules import Rules
from vitcam.recording.running import Precision, running
from vitcam.recording.score import Score, Scorer
from vitcam.recording.text import Text, ids_of, text_of, text_products
from vitcam.recording.token_gradients import TokenGradients


class Need(enum.Flag):
    """What a method needs from a recording. It gets this and nothing more.

    Example:
        >>> both = Need.MAPS | Need.SKIP_GRADIENT
        >>> Need.MAPS in both, Need.GRADIENT in both
        (True, False)
    """

    NOTHING = 0
    MAPS = enum.auto()  # every query row of the attention layers
    SKIP_GRADIENT = enum.auto()  # ∂y/∂O along the skip connections only, and the query rows it reaches
    GRADIENT = enum.auto()  # ∂y/∂O, the ordinary one; comes with every query row
    BLOCK_NORM = enum.auto()  # the last block's first norm and its gradient: what FeatureNeed() asks for
    LAYER_GRADIENT = enum.auto()  # ∂y_l/∂O_l, the head reading the tokens that leave layer l's block
    MEAN_LAYER_GRADIENT = enum.auto()  # the same, the head reading their mean
    TOKENS = enum.auto()  # input × gradient of the tokens between blocks
    BIASES = enum.auto()  # and bias × gradient, behind the first block's input


@dataclass(frozen=True)
class Recording:
    """One forward pass of a batch, and the gradients that its methods asked for.

    Attributes:
        model: the model, for methods that make passes of their own.
        images: what it ran on, normalised.
        layout: the structure of the model. If it has an ``obstacle``, no attention and no gradients are
            recorded.
        layers: its attention layers, in the order of the calls; without any that the head doesn't read.
        logits: (batch, classes); None if the model gives none and a function gave the scores.
        targets: (batch, targets), the classes explained; -1 where a function gave the score.
        heads: what the head reads of each stream of tokens.
        skip_gradients: per layer ∂y/∂O (batch, targets, heads, rows, dim), attention inputs detached;
            ``rows`` may be the prefix tokens only, where all others are exactly zero. None if not asked for.
        gradients: the same for the ordinary gradient, all rows. None if not asked for.
        features: feature maps and their gradients, by what was asked for; without what there isn't.
        layer_gradients: attention layers with ∂y_l/∂O_l, y_l being the score if the head read the tokens that
            leave layer l's block; where an attention pools the tokens for the head, that one on each block's
            tokens. None if not asked for, or the head reads more than the last block's tokens.
        mean_layer_gradients: the same, with the mean of the block's tokens in the place of each.
        token_gradients: gradients of the tokens between blocks, times these. None if not asked for, or the model has
            no recognised blocks, some are called twice, or they return other tokens than their layers attend over.
        rules: the rules by which gradients came back; "plain" of the ordinary ones.
        replayed: whether the skip gradients came from a replay of the prefix tokens.
        score, precision: as given, for methods that make passes of their own.
        fused: whether the model's switches between fused and written-out attention were set to fused.
        inputs: what the model was given besides the images.
        versus: (batch, targets), the classes whose scores are taken away from those of the targets; None if none are.
        table: (batch, …), what stood in the place of logits, with ``targets`` as places in its rows laid flat; None
            of classes.
        again: records feature maps of other images, as many, of the same classes.
        once_more: records the same images once more, for other needs, with gradients that come back by rules.

    Example:
        >>> from vitcam.recording import Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> recording = record(model, images, score, Need.GRADIENT)
        >>> recording.layout.grid.tokens, recording.targets.shape, recording.logits.shape
        (196, torch.Size([8, 1]), torch.Size([8, 1000]))
        >>> len(recording.layers), len(recording.gradients)
        (12, 12)
    """

    model: nn.Module
    images: Float[Tensor, "batch channels *space"]
    layout: Layout
    layers: tuple[Attention, ...]
    logits: Float[Tensor, "batch classes"] | None
    targets: Int[Tensor, "batch targets"]
    heads: tuple[Head, ...]
    skip_gradients: tuple[Gradient, ...] | None
    gradients: tuple[Gradient, ...] | None
    features: Mapping[FeatureNeed, Features]
    layer_gradients: LayerGradients | None
    mean_layer_gradients: LayerGradients | None
    token_gradients: TokenGradients | None
    rules: str
    replayed: bool
    score: Score
    precision: Precision
    once_more: Callable[[Need, Sequence[FeatureNeed], Rules], Recording]
    fused: bool = True
    inputs: Inputs = NO_INPUTS
    versus: Int[Tensor, "batch targets"] | None = None
    table: Float[Tensor, batch * columns] | None = None
    again: Callable[[Tensor, Sequence[FeatureNeed]], Recording] | None = None

    @functools.cached_property
    def across(self) -> Across:
        """The attention between all sequences of tokens of the model, with gradients, by a pass of its own.

        Of a model with one sequence it is what was recorded, with gradients.

        Raises:
            ModelError: the score depends on no attention.

        Example:
            >>> from vitcam.recording import Need, Score, record
            >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
            >>> across = record(model, images, score, Need.GRADIENT).across
            >>> across.tokens, len(across.layers), across.rows[0].shape
            ((197,), 12, torch.Size([8, 1, 197]))
        """
        return attention_across(self)

    @functools.cached_property
    def text(self) -> Text | None:
        """The text that the model is given with each image, and which tokens are its; None if there is none."""
        return text_of(self)

    @property
    def text_ids(self) -> Int[Tensor, "batch length"] | None:
        """The ids of its tokens."""
        return ids_of(self.inputs)

    def text_products(self) -> Float[Tensor, "batch targets length"] | None:
        """Embedding × gradient of the tokens of that text, by a pass of its own; None if there is none.

        Example:
            >>> from vitcam.recording import Need, Score, record
            >>> recording = record(model, images, Score(choose=lambda logits: logits.topk(1).indices), Need.NOTHING)
            >>> recording.text_products() is None  # of a model that reads no text
            True
        """
        return text_products(self)

    @property
    def block_norm(self) -> Features | None:
        """The last block's first norm and its gradient. None if not asked for, or there is none."""
        return self.features.get(FeatureNeed())

    def scorer(self, rows: slice = slice(None), copies: int = 1) -> Scorer:
        """The function from the model's output for some of the images to their scores (rows, targets).

        Args:
            rows: which of them.
            copies: how many of each there are, one after the other.

        Example:
            >>> from vitcam.recording import Score, record
            >>> score = Score(choose=lambda logits: logits.topk(5).indices)
            >>> recording = record(model, images, score, Need.NOTHING)
            >>> with recording.resumed() as resumed:
            ...     recording.scorer(slice(0, 1), copies=3)(resumed(images[:1].expand(3, -1, -1, -1))).shape
            torch.Size([3, 5])
        """
        targets, versus = (
            None if each is None else each[rows].repeat_interleave(copies, dim=0)
            for each in (self.targets, self.versus)
        )
        return self.score.scorer(targets, versus)

    @contextlib.contextmanager
    def changed(self, need: FeatureNeed, count: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Inside the ``with`` the resumed model goes on with something else in the place of a feature map.

        Args:
            need: which.
            count: how many images it is given.
            change: from the activation, as :class:`Features` has it, to what stands in its stead.

        Example:
            >>> from vitcam.recording import FeatureNeed, Score, record
            >>> score = Score(choose=lambda logits: logits.topk(5).indices)
            >>> recording = record(model, images, score, Need.NOTHING)
            >>> with recording.resumed() as resumed, recording.changed(FeatureNeed(), 8, torch.zeros_like):
            ...     bool((resumed(images) == recording.logits).any())
            False
        """
        with changed_features(self.model, self.layout, count, need.point, change):
            yield

    @property
    def head_rows(self) -> Float[Tensor, " tokens"]:
        """(tokens,) the share of each token in what the head reads; sums to 1.

        A model with a class token has a single 1, one that averages its patches 1/N for each.

        Raises:
            ModelError: the output depends on no token, or scores of several images or targets on other ones.
        """
        rows = self.rows_read
        if bool((rows != rows[:1, :1]).any()):
            raise ModelError(
                f"the scores of {type(self.model).__name__} that are explained read other tokens each, so that no "
                "one row stands for its head. Explain one image and one target at a time"
            )
        return rows[0, 0]

    @property
    def rows_read(self) -> Float[Tensor, "batch targets_or_1 tokens"]:
        """The share of each token in what the head reads for the score of each image and target; sums to 1.

        There is one for all targets where they read the same.

        Raises:
            ModelError: the output depends on no token.

        Example:
            >>> from vitcam.recording import Score, record
            >>> score = Score(choose=lambda logits: logits.topk(5).indices)
            >>> record(model, images, score, Need.MAPS).rows_read.shape
            torch.Size([8, 1, 197])
        """
        rows, pools = self.heads[0].rows, self.heads[0].pools
        if not pools and not self.layout.obstacle and not rows.any():
            raise ModelError(
                f"which tokens the head of {type(self.model).__name__} reads couldn't be told: its output depends on "
                "none of them. Is the head initialised with zeros?"
            )
        return rows if rows.dim() == 3 else rows.expand(len(self.images), 1, -1)

    @property
    def pools(self) -> bool:
        """Whether the last layer is an attention that pools the tokens for the head."""
        return self.heads[0].pools

    def by_stream(self) -> Iterator[Recording]:
        """The recording of each stream of tokens alone, as of a plain ViT; their maps add up.

        Example:
            >>> from vitcam.recording import Score, record
            >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
            >>> recording = record(model, images, score, Need.MAPS)
            >>> [each.layout.grid.tokens for each in recording.by_stream()]
            [196]
        """
        if len(self.layout.streams) == 1:
            yield self
            return
        read = [bool(head.rows.any()) or head.pools for head in self.heads]
        for number, stream in enumerate(self.layout.streams):
            if any(read) and not read[number]:
                continue  # of another output than what is explained
            kept = [index for index, layer in enumerate(self.layers) if layer.stream == number]
            yield replace(
                self,
                layout=replace(self.layout, grid=stream.grid, tokens=stream.tokens, streams=(stream,)),
                layers=tuple(self.layers[index] for index in kept),
                heads=(self.heads[number],),
                skip_gradients=self.skip_gradients and tuple(self.skip_gradients[index] for index in kept),
                gradients=self.gradients and tuple(self.gradients[index] for index in kept),
            )

    @contextlib.contextmanager
    def resumed(self) -> Iterator[nn.Module]:
        """The model in the state in which it was recorded: frozen, evaluating, in the same precision, with inputs.

        For methods that make passes of their own.

        Example:
            >>> from vitcam.recording import record
            >>> score = Score(choose=lambda logits: logits.topk(5).indices)
            >>> recording = record(model, images, score, Need.NOTHING)
            >>> with recording.resumed() as model:
            ...     scores = recording.score.scorer(recording.targets)(model(recording.images))
            >>> scores.shape
            torch.Size([8, 5])
        """
        with (
            running(self.model, self.images.device, self.precision, fused=self.fused),
            bound(self.model, self.inputs),
        ):
            yield self.model

    def only(self, start: int, count: int = 1) -> AbstractContextManager[None]:
        """Inside the ``with`` the resumed model is given some of the images, or changed copies of a single one.

        So that it gets the inputs that belong to them.

        Example:
            >>> from vitcam.recording import Score, record
            >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
            >>> recording = record(model, images, score, Need.NOTHING)
            >>> with recording.resumed() as resumed, recording.only(3):
            ...     resumed(recording.images[3:4]).shape
            torch.Size([1, 1000])
        """
        return bound(self.model, self.inputs.of(start, count))
