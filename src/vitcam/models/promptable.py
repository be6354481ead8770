"""CLIP-like models as classifiers whose classes are texts."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vitcam.errors import ModelError


class ImageTower(nn.Module):
    """The image half of a dual encoder (CLIP, SigLIP). It has no classes until it is given texts.

    Args:
        tower: from images (batch, 3, height, width) to image features (batch, dim), or a tuple that begins
            with them.
        scale: what the cosine similarities are multiplied with: the exponential of the vendor's logit scale.
        bias: what is added to them (SigLIP); None means nothing.
    """

    scale: Tensor
    bias: Tensor | None

    def __init__(self, tower: nn.Module, scale: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("scale", scale.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Image features of unit length."""
        features = self.tower(images)
        return F.normalize(features[0] if isinstance(features, tuple) else features, dim=-1)

    def with_texts(self, texts: Float[Tensor, "classes dim"]) -> PromptedImageTower:
        """The same tower as a classifier of these text features of unit length."""
        return PromptedImageTower(self, texts)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        raise ModelError(
            "This model compares images with texts and has no classes of its own. Say which texts: "
            "model.with_prompts(['a photo of a cat', 'a photo of a dog'])."
        )


class PromptedImageTower(ImageTower):
    """A dual encoder's image half whose logits are its similarities to given texts."""

    texts: Tensor

    def __init__(self, image_tower: ImageTower, texts: Float[Tensor, "classes dim"]) -> None:
        super().__init__(image_tower.tower, image_tower.scale, image_tower.bias)
        self.register_buffer("texts", texts.detach().to(image_tower.scale))
        self.train(image_tower.training)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        logits = self.scale * self.encode(images) @ self.texts.T
        return logits if self.bias is None else logits + self.bias
