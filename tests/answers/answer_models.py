"""Small models with answers of other kinds than classes, of real packages, and pictures of two shapes to train on."""

from __future__ import annotations

from functools import cache

import timm
import torch
import transformers
from torch import nn

from small_models import perturbed

SIDE, CELL = 32, 8
"""Of a picture, and of each of its 4×4 cells, which are patches too."""

_SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}


def timm_backbone():
    torch.manual_seed(1)
    model = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        depth=2,
        img_size=SIDE,
        patch_size=CELL,
        embed_dim=48,
        num_heads=3,
    )
    return model.eval()


def dinov2():
    config = transformers.Dinov2Config(**_SMALL, image_size=SIDE, patch_size=CELL)
    return perturbed(transformers.Dinov2Model(config)).eval()


def clip_vision():
    config = transformers.CLIPVisionConfig(**_SMALL, image_size=SIDE, patch_size=CELL, projection_dim=16)
    return perturbed(transformers.CLIPVisionModelWithProjection(config)).eval()


def yolos():
    config = transformers.YolosConfig(
        **_SMALL,
        image_size=[SIDE, SIDE],
        patch_size=CELL,
        num_detection_tokens=5,
        id2label={0: "square", 1: "ring"},
    )
    return perturbed(transformers.YolosForObjectDetection(config)).eval()


def owlvit():
    text = _SMALL | {"vocab_size": 99, "max_position_embeddings": 8, "eos_token_id": 98, "bos_token_id": 97}
    vision = _SMALL | {"image_size": SIDE, "patch_size": CELL}
    config = transformers.OwlViTConfig(text_config=text, vision_config=vision, projection_dim=32)
    return perturbed(transformers.OwlViTForObjectDetection(config)).eval()


def detr():
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"]
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=5,
        num_labels=3,
    )
    return perturbed(transformers.DetrForObjectDetection(config)).eval()


def dpt():
    config = transformers.DPTConfig(
        **(_SMALL | {"num_hidden_layers": 4}),
        image_size=SIDE,
        patch_size=CELL,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=16,
        num_labels=3,
        readout_type="project",
    )
    return perturbed(transformers.DPTForSemanticSegmentation(config), matrices=0.2).eval()


def segformer():
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=32,
        num_labels=3,
    )
    return perturbed(transformers.SegformerForSemanticSegmentation(config), matrices=0.2).eval()


class DenseHead(nn.Module):
    """A linear layer on each patch of a ViT of timm, as people write it: (batch, classes, rows, columns)."""

    def __init__(self, classes=3):
        super().__init__()
        self.backbone = perturbed(timm_backbone())
        self.head = nn.Linear(48, classes)

    def forward(self, images):
        tokens = self.backbone.forward_features(images)[:, 1:]
        return self.head(tokens).transpose(1, 2).unflatten(2, (SIDE // CELL, -1))


def dense():
    torch.manual_seed(2)
    return DenseHead().eval()


def text_inputs(count):
    ids = torch.randint(1, 90, (count, 6), generator=torch.Generator().manual_seed(5))
    ids[:, -1] = 98
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def noise(count):
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def shapes(count, seed, kinds=(0, 1)):
    """Pictures with a bright square and a bright ring, or one of them, in cells of their own; and these cells.

    Returns:
        pictures (count, 3, 32, 32) and cells (count, 2), the square's and the ring's; −1 of one that isn't there.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = 0.3 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    cells = torch.full((count, 2), -1)
    y, x = torch.meshgrid(torch.arange(CELL) - 3.5, torch.arange(CELL) - 3.5, indexing="ij")
    drawn = ((x.abs() < 2.5) & (y.abs() < 2.5)).float(), ((x**2 + y**2 - 9).abs() < 5).float()
    for number in range(count):
        places = torch.randperm(16, generator=generator)[:2]
        for kind in kinds:
            cells[number, kind] = places[kind]
            row, column = divmod(int(places[kind]), SIDE // CELL)
            window = (slice(row * CELL, (row + 1) * CELL), slice(column * CELL, (column + 1) * CELL))
            pictures[number, :, window[0], window[1]] += 2 * drawn[kind]
    return pictures, cells


def trained(model, loss, steps, rate=2e-3):
    """The model, trained on batches of shapes until it knows them; loss takes the model, pictures and cells."""
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    model.train()
    for step in range(steps):
        pictures, cells = shapes(48, seed=100 + step)
        optimizer.zero_grad()
        value = loss(model, pictures, cells)
        value.backward()
        optimizer.step()
    return model.eval().requires_grad_(False), float(value)


def some_erased(pictures, cells):
    """Erases one of the shapes of two pictures out of three; which are still shown: (pictures, 2)."""
    kinds = torch.randint(0, 3, (len(pictures),), generator=torch.Generator().manual_seed(int(cells.sum())))
    shown = torch.stack([kinds != 1, kinds != 0], dim=1)
    for number, kind in (~shown).nonzero().tolist():
        row, column = divmod(int(cells[number, kind]), SIDE // CELL)
        pictures[number, :, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 0
    return shown


@cache
def trained_backbone():
    """A backbone of timm, and two directions in its space: "there is a square" and "there is a ring"."""

    class WithDirections(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.directions = timm_backbone(), nn.Parameter(torch.randn(2, 48))

    def loss(model, pictures, cells):
        shown = some_erased(pictures, cells).float()
        embedded, directions = (
            nn.functional.normalize(each, dim=1) for each in (model.backbone(pictures), model.directions)
        )
        return nn.functional.binary_cross_entropy_with_logits(12 * (embedded @ directions.T - 0.3), shown)

    model, last = trained(WithDirections(), loss, steps=110)
    assert last < 0.5, last
    return model.backbone, model.directions.detach()


@cache
def trained_yolos():
    """A YOLOS whose first detection token finds the square, and whose second finds the ring."""

    def loss(model, pictures, cells):
        shown = some_erased(pictures, cells)
        output = model(pictures)
        wanted = torch.full(output.logits.shape[:2], 2)
        wanted[:, :2] = torch.where(shown, torch.arange(2), 2)
        centres = torch.stack([cells % 4, cells // 4], dim=-1) / 4 + 1 / 8
        boxes = torch.cat([centres, torch.full_like(centres, 0.25)], dim=-1)
        classes = nn.functional.cross_entropy(output.logits.flatten(0, 1), wanted.flatten())
        return classes + 2 * (output.pred_boxes[:, :2] - boxes)[shown].abs().mean()

    torch.manual_seed(3)
    model, last = trained(yolos(), loss, steps=120, rate=4e-3)
    assert last < 0.4, last
    return model


def _text_and_vision():
    text = _SMALL | {"vocab_size": 99, "max_position_embeddings": 8, "eos_token_id": 98, "bos_token_id": 97}
    return text, _SMALL | {"image_size": SIDE, "patch_size": CELL}


def clip(layers=3):
    text, vision = (each | {"num_hidden_layers": layers} for each in _text_and_vision())
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    return perturbed(transformers.CLIPModel(config)).eval()


def siglip():
    text, vision = _text_and_vision()
    return perturbed(
        transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    ).eval()


def blip_matching():
    text, vision = _text_and_vision()
    text |= {"encoder_hidden_size": 32, "pad_token_id": 0, "sep_token_id": 98}
    config = transformers.BlipConfig(
        text_config=text, vision_config=vision, image_text_hidden_size=16, projection_dim=16
    )
    return perturbed(transformers.BlipForImageTextRetrieval(config)).eval()
