"""A model together with what is needed to use it: preprocessing, class names, text encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from vitcam.errors import ModelError, TargetError
from vitcam.images import ImageSource
from vitcam.models.adopted import Adopted, adopted_preprocessing
from vitcam.models.classes import find_class, search_classes
from vitcam.models.preprocessing import Preprocessing
from vitcam.models.promptable import ImageTower
from vitcam.models.resized import resized_module, resized_preprocessing
from vitcam.open_files import is_open_file


@dataclass(frozen=True)
class LoadedModel:
    """A model, how it wants its images, and what its classes are called.

    ``load_model`` makes them; for a module of your own, ``LoadedModel(module, preprocessing)`` is enough.
    ``dataclasses.replace(model, class_names=(…))`` gives a model other names.

    Attributes:
        module: from images (batch, 3, height, width) to logits (batch, classes): a tensor, an object with
            ``.logits``, or a tuple that begins with them. In evaluation mode.
        preprocessing: from a photograph to the module's input. May be given as a Hugging Face image processor, as a
            transform of torchvision, timm or open_clip, or as any function from a PIL image to a tensor: what it
            does is found out and declared. With None, tensors alone can be explained.
        class_names: one per logit; a name may be several synonyms with commas between them.
        wordnet_ids: per logit the WordNet ids (``n02123045``) that the class stands for.
        text_encoder: for a model that compares images with texts (CLIP, SigLIP): from texts to their
            features (texts, dim) of unit length.
        spec: the specification that it was loaded by.
        multi_label: whether an image can have several classes, so that a class's probability is the sigmoid of
            its logit instead of a share of the softmax.
        tokenizer: names the tokens of a text that is given with each image: anything with ``convert_ids_to_tokens``.

    Example:
        >>> own = LoadedModel(torch.nn.Identity(), vitcam.Preprocessing.paper(), class_names=("dog", "cat, tabby"))
        >>> own.class_index("tabby")
        1
    """

    module: nn.Module
    preprocessing: Adopted
    class_names: tuple[str, ...] | None = None
    wordnet_ids: tuple[tuple[str, ...], ...] | None = None
    text_encoder: Callable[[Sequence[str]], Tensor] | None = None
    spec: str = "custom"
    multi_label: bool = False
    tokenizer: Any = None

    def __post_init__(self) -> None:
        """Takes the preprocessing of other libraries as one of ours.

        Raises:
            ModelError: what it does can't be declared.
        """
        object.__setattr__(self, "preprocessing", adopted_preprocessing(self.preprocessing))

    @property
    def promptable(self) -> bool:
        """Whether the classes can be texts of your own: see ``with_prompts``."""
        return self.text_encoder is not None

    def with_prompts(self, prompts: Sequence[str]) -> LoadedModel:
        """The same model with these texts as its classes, in place of any it had.

        Its logits are the cosine similarities of image and text, scaled (and for SigLIP shifted) as in
        the model's training, so that softmax (SigLIP: sigmoid) gives its probabilities.

        Args:
            prompts: for example ``["a photo of a cat", "a photo of a dog"]``.

        Raises:
            ModelError: the model has its own classes and can't read.
            TargetError: there is no text, or an empty one.

        Example:
            >>> clip = vitcam.load_model("open_clip:ViT-B-32/laion2b_s34b_b79k")
            >>> clip.with_prompts(["a photo of a cat"]).class_names
            ('a photo of a cat',)
        """
        names = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        if self.text_encoder is None or not isinstance(self.module, ImageTower):
            raise ModelError(
                f"{self.spec} can't be asked about texts: it has classes of its own. "
                f"Load a CLIP or SigLIP, for example open_clip:ViT-B-32/laion2b_s34b_b79k."
            )
        if not names or not all(name.strip() for name in names):
            raise TargetError(f"Expected texts such as 'a photo of a cat', got {list(names)}.")
        module = self.module.with_texts(self.text_encoder(names))
        return replace(self, module=module, class_names=names, wordnet_ids=None)

    def with_size(self, size: int | tuple[int, int]) -> LoadedModel:
        """The same model for photographs of another size, in more or fewer patches.

        A module of timm that was made for one size is copied, and its position embedding interpolated, as timm does.
        Others get images of that size: what takes none but its own says so, and Hugging Face's may need
        ``inputs={"interpolate_pos_encoding": True}`` in each call. Far from the size of its training a model gets
        worse; tiles (``vitcam.explain(tiles=…)``) don't change it.

        Args:
            size: (height, width) in pixels, or one number for both; multiples of the patch's.

        Raises:
            ModelError: it isn't a size, or none that the model can be made for.

        Example:
            >>> larger = vitcam.load_model("embedded:photo").with_size((168, 168))
            >>> larger.preprocessing.size
            (168, 168)
        """
        self.check_photographs("another size")
        given = (size, size) if isinstance(size, int) else tuple(size)
        if len(given) != 2 or not all(isinstance(side, int) and side > 0 for side in given):
            raise ModelError(f"a size is (height, width) in pixels, or one number for both; got {size!r:.80}")
        height, width = given
        return replace(
            self,
            module=resized_module(self.module, (height, width)),
            preprocessing=resized_preprocessing(self.preprocessing, (height, width)),
        )

    def check_photographs(self, what: str) -> None:
        """Refuses a model that takes anything else than photographs.

        Args:
            what: is only done with these, for the message.

        Raises:
            ModelError: it takes something else.

        Example:
            >>> photo_model.check_photographs("an export")
        """
        if not isinstance(self.preprocessing, Preprocessing):
            raise ModelError(
                f"{what} is for models of photographs, and {self.spec} takes what "
                f"{type(self.preprocessing).__name__} prepares: explain it by vitcam explain, or in Python"
            )

    def preprocess(self, images: ImageSource | Sequence[ImageSource]) -> Float[Tensor, "batch ..."]:
        """The module's input for one image or several, on the module's device.

        Args:
            images: a path, PIL image, array, open file or its bytes, as ``open_image`` takes them, or a sequence
                of such; of clips, sounds and volumes paths.

        Raises:
            ImageError: one of them can't be opened; the message names it.

        Example:
            >>> photo_model.preprocess([photo_path("cat"), photo_path("cup")]).shape
            torch.Size([2, 3, 168, 168])
        """
        one = isinstance(images, (str, Path, Image.Image, bytes, bytearray)) or hasattr(images, "dtype")
        one = one or is_open_file(images)
        sources: Sequence[Any] = [images] if one else images  # type: ignore[assignment]  # narrowed by `one`
        inputs = [self.preprocessing(self.preprocessing.read(source)) for source in sources]
        if not inputs:
            return torch.empty(0, *self.preprocessing.shape, device=self._device)
        return torch.stack(inputs).to(self._device)

    def class_index(self, name: str) -> int:
        """The index of the class of this name.

        Args:
            name: a class's whole name, one of its synonyms, its WordNet id, or its index written as digits;
                upper or lower case.

        Raises:
            TargetError: there is no such class (the message names the nearest), or several.
        """
        return find_class(name, self.class_names or (), self.wordnet_ids or (), self.spec)

    def find_classes(self, text: str) -> list[int]:
        """The indices of the classes that have a text in their names; all of them for "".

        Those of which it is a whole word come first.

        Example:
            >>> [photo_model.class_names[index] for index in photo_model.find_classes("cat")]
            ['cat', 'big cat', 'cattle']
        """
        return search_classes(text, self.class_names or ())

    @property
    def _device(self) -> torch.device:
        parameter = next(self.module.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device
