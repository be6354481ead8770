"""Passes of a small torchvision ViT without some patches, one at a time and by its parts: what others must equal."""

from __future__ import annotations

import torch
import torch.nn.functional as F

NAME = "torchvision vit"  # 4×4 patches of 16 pixels, a class token
TARGETS = [[1, 4], [0, 3]]


def logits(model, image):
    with torch.no_grad():
        return model(image[None])[0]


def from_tokens(model, image, kept):
    """torchvision's parts, one after the other, on the class token and some patches."""
    with torch.no_grad():
        tokens = model.conv_proj(image[None]).flatten(2).transpose(1, 2)
        tokens = torch.cat([model.class_token, tokens], dim=1) + model.encoder.pos_embedding
        tokens = tokens[:, [0, *[1 + patch for patch in kept]]]
        return model.heads(model.encoder.ln(model.encoder.layers(tokens))[:, 0])[0]


def hidden(model, image, kept):
    """The same on all tokens, of which some are attended to: attention by hand."""
    visible = torch.tensor([True] + [patch in kept for patch in range(16)])
    with torch.no_grad():
        x = model.conv_proj(image[None]).flatten(2).transpose(1, 2)
        x = torch.cat([model.class_token, x], dim=1) + model.encoder.pos_embedding
        for layer in model.encoder.layers:
            own = layer.self_attention
            q, k, v = (
                part.unflatten(-1, (own.num_heads, -1)).transpose(1, 2)
                for part in F.linear(layer.ln_1(x), own.in_proj_weight, own.in_proj_bias).chunk(3, dim=-1)
            )
            scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
            maps = scores.masked_fill(~visible, -torch.inf).softmax(-1)
            x = x + own.out_proj((maps @ v).transpose(1, 2).flatten(2))
            x = x + layer.mlp(layer.ln_2(x))
        return model.heads(model.encoder.ln(x)[:, 0])[0]


def painted(model, image, kept, colour=0.0):
    changed = image.clone()
    for patch in set(range(16)) - set(kept):
        row, column = patch // 4 * 16, patch % 4 * 16
        changed[:, row : row + 16, column : column + 16] = colour
    return logits(model, changed)


REMOVED = {"pixels": painted, "tokens": from_tokens, "attention": hidden}
