"""What a kind of answer declares: a table of scores read from a model's output, and which of them are explained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import TargetError
from vitcam.recording import Score
from vitcam.types import Answered


@dataclass(frozen=True)
class About:
    """What an answer may know of the model before it is run on the images that are explained.

    Attributes:
        module: the model.
        images: the number of images.
        size: the height and width of what the model sees.
        outputs: the model's outputs for other images, batch by batch, without gradients.
        class_names: those of a loaded model, or in the configuration of one of Hugging Face; None if there are none.
        class_index: from a class's name to its index; None likewise.
        is_classifier: whether the model is known to give logits of classes.
    """

    module: nn.Module
    images: int
    size: tuple[int, int]
    outputs: Callable[[Any], Iterable[Any]]
    class_names: tuple[str, ...] | None = None
    class_index: Callable[[str], int] | None = None
    is_classifier: bool = False

    def index(self, label: int | str) -> int:
        """The index of a class by name or index.

        Raises:
            TargetError: there is no such class, or the model has no names.
        """
        if not isinstance(label, str):
            if isinstance(label, bool) or not hasattr(label, "__index__"):
                raise TargetError(f"a class is a name or an index, not {label!r}")
            return int(label)
        if self.class_index is None:
            raise TargetError(
                f"this model has no class names, so {label!r} can't be looked up; give the index of the class"
            )
        return self.class_index(label)

    def name(self, index: int) -> str:
        """What a class is called."""
        known = self.class_names is not None and 0 <= index < len(self.class_names)
        return self.class_names[index] if self.class_names and known else f"class {index}"


class AnswerKind(ABC):
    """A kind of answer, to be given as ``targets`` to :func:`vitcam.explain`.

    A row of its table depends on that image's output alone, so that the same columns can be read again of changed
    images; which columns are explained may be said for each image.
    """

    def prepared(self, about: About) -> AnswerKind:
        """The same, with what it needs of the model; called once for all images.

        Raises:
            TargetError: it has no meaning for this model, or doesn't fit the number of images.
        """
        del about
        return self

    def of_images(self, start: int, count: int) -> AnswerKind:
        """The same for some of the images."""
        del start, count
        return self

    @abstractmethod
    def table(self, output: Any) -> Float[Tensor, batch * columns]:
        """The scores that a model's output holds, in any order of axes behind the first.

        Raises:
            TargetError: there are none in it.
        """

    @abstractmethod
    def choose(self, table: Float[Tensor, batch * columns]) -> Int[Tensor, "batch targets"]:
        """The entries that are explained, as places in a row of the table laid flat.

        Raises:
            TargetError: there are none, or not as many in every image.
        """

    @abstractmethod
    def describe(self, row: Float[Tensor, "*columns"], column: int, size: tuple[int, int]) -> Answered:
        """What a place in an image's row is; ``size`` is the height and width of what the model saw."""

    def score(self) -> Score:
        """The score of what is chosen."""

        def described(
            table: Float[Tensor, batch * columns],
            columns: Int[Tensor, "batch targets"],
            size: tuple[int, int],
        ) -> tuple[tuple[Answered, ...], ...]:
            return tuple(
                tuple(self.describe(row, column, size) for column in chosen)
                for row, chosen in zip(table, columns.tolist(), strict=True)
            )

        return Score(choose=self.choose, read=self.table, described=described, scale_name="score")


def named(output: Any, name: str) -> Any:
    """An attribute or entry of a model's output; None if it has none."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
