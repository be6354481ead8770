"""Where models come from: the schemes that ``load_model`` knows. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class ModelSource:
    """One kind of model specification.

    Attributes:
        scheme: what stands before the colon.
        patterns: how such a specification is written.
        gives: what one gets.
        library: the Python package that it needs.
        extra: vitcam's extra that installs this package; None if vitcam needs it anyway.
        example: a specification that works (given a network, or the file).
    """

    scheme: str
    patterns: tuple[str, ...]
    gives: str
    library: str
    extra: str | None
    example: str

    @property
    def installed(self) -> bool:
        """Whether the library is there. It isn't imported for that."""
        return find_spec(self.library) is not None

    @property
    def remedy(self) -> str:
        """The command that installs the library."""
        return f"pip install 'vitcam[{self.extra}]'" if self.extra else f"pip install {self.library}"


SOURCES: dict[str, ModelSource] = {
    source.scheme: source
    for source in (
        ModelSource(
            scheme="embedded",
            patterns=("embedded:photo",),
            gives="a small ViT for 62 everyday classes that comes with vitcam and needs no network",
            library="timm",
            extra=None,
            example="embedded:photo",
        ),
        ModelSource(
            scheme="timm",
            patterns=("timm:NAME", "timm:NAME@FILE"),
            gives="any model of timm, with the weights of the hub or of a local checkpoint",
            library="timm",
            extra=None,
            example="timm:vit_base_patch16_224",
        ),
        ModelSource(
            scheme="torchvision",
            patterns=("torchvision:NAME", "torchvision:NAME/WEIGHTS", "torchvision:NAME@FILE"),
            gives="a classification model of torchvision",
            library="torchvision",
            extra=None,
            example="torchvision:vit_b_16",
        ),
        ModelSource(
            scheme="hf",
            patterns=("hf:ID", "hf:/FOLDER"),
            gives="an image classifier, CLIP or SigLIP of Hugging Face, from the hub or from a folder",
            library="transformers",
            extra="hf",
            example="hf:google/vit-base-patch16-224",
        ),
        ModelSource(
            scheme="open_clip",
            patterns=("open_clip:ARCH/TAG", "open_clip:ARCH@FILE"),
            gives="a CLIP or SigLIP of open_clip, to be asked about texts of your own",
            library="open_clip",
            extra="open-clip",
            example="open_clip:ViT-B-32/laion2b_s34b_b79k",
        ),
    )
}


def describe_models() -> list[ModelSource]:
    """The kinds of models that ``load_model`` can load, and whether what they need is installed.

    Example:
        >>> [source.example for source in describe_models()][0]
        'embedded:photo'
    """
    return list(SOURCES.values())
