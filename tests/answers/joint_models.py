"""Small models of transformers in which attention goes between an image's tokens and others: queries', a text's."""

from __future__ import annotations

from functools import cache

import torch
import transformers
from answer_models import CELL, SIDE, _text_and_vision, clip, trained

from small_models import perturbed

_BACKBONE = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
_DETR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 5,
    "num_labels": 3,
}


def resnet(stages=2):
    return transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32][:stages],
        depths=[1] * stages,
        out_features=[f"stage{stage + 1}" for stage in range(stages)][-4 if stages > 2 else -1 :],
    )


def conditional_detr():
    config = transformers.ConditionalDetrConfig(**_BACKBONE, backbone_config=resnet(), **_DETR)
    return perturbed(transformers.ConditionalDetrForObjectDetection(config)).eval()


def table_transformer():
    config = transformers.TableTransformerConfig(**_BACKBONE, backbone_config=resnet(), **_DETR)
    return perturbed(transformers.TableTransformerForObjectDetection(config)).eval()


def deformable_detr():
    config = transformers.DeformableDetrConfig(
        **_BACKBONE,
        backbone_config=resnet(3),
        **_DETR,
        num_feature_levels=3,
    )
    return perturbed(transformers.DeformableDetrForObjectDetection(config)).eval()


def rt_detr():
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
        layer_type="basic",
    )
    config = transformers.RTDetrConfig(
        **_BACKBONE,
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 24, 32],
        encoder_ffn_dim=64,
        encoder_attention_heads=2,
        d_model=32,
        num_queries=5,
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=64,
        decoder_layers=2,
        decoder_attention_heads=2,
        num_labels=3,
        anchor_image_size=None,
    )
    return perturbed(transformers.RTDetrForObjectDetection(config)).eval()


def maskformer():
    decoder = transformers.DetrConfig(
        **_BACKBONE, backbone_config=resnet(), **(_DETR | {"num_labels": 4, "encoder_layers": 0})
    )
    config = transformers.MaskFormerConfig(
        backbone_config=resnet(4),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        num_labels=3,
    )
    return perturbed(transformers.MaskFormerForInstanceSegmentation(config)).eval()


def mask2former():
    backbone = transformers.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=32,
        num_queries=5,
        num_labels=3,
    )
    return perturbed(transformers.Mask2FormerForUniversalSegmentation(config)).eval()


def sam(window=2):
    vision = transformers.SamVisionConfig(
        hidden_size=32,
        output_channels=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        window_size=window,
        global_attn_indexes=[1],
        num_pos_feats=8,
        mlp_dim=64,
    )
    prompts = transformers.SamPromptEncoderConfig(
        hidden_size=16, image_size=64, patch_size=16, image_embedding_size=4, mask_input_channels=4
    )
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2, iou_head_hidden_dim=16
    )
    config = transformers.SamConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    return perturbed(transformers.SamModel(config)).eval()


def _blip_config(**more):
    text, vision = _text_and_vision()
    text |= {"encoder_hidden_size": 32, "pad_token_id": 0, "sep_token_id": 98}
    return transformers.BlipConfig(
        text_config=text | more, vision_config=vision, image_text_hidden_size=16, projection_dim=16
    )


def blip_matching():
    return perturbed(transformers.BlipForImageTextRetrieval(_blip_config())).eval()


def blip_captioning():
    return perturbed(transformers.BlipForConditionalGeneration(_blip_config())).eval()


def blip_answering():
    return perturbed(transformers.BlipForQuestionAnswering(_blip_config())).eval()


def vilt():
    config = transformers.ViltConfig(
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=SIDE,
        patch_size=CELL,
        vocab_size=99,
        max_position_embeddings=8,
        num_hidden_layers=3,
        num_labels=4,
    )
    torch.manual_seed(4)
    return perturbed(transformers.ViltForQuestionAnswering(config)).eval()


SHAPES = (40, 41)  # the names of the square and the ring, as tokens


def texts_of_shapes(kinds, seed=0):
    """Texts of six tokens with a shape's name somewhere among other words; and where it stands."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 25, (len(kinds), 6), generator=generator)
    ids[:, 0], ids[:, -1] = 97, 98
    places = torch.randint(1, 5, (len(kinds),), generator=generator)
    ids[torch.arange(len(kinds)), places] = SHAPES[0] + torch.as_tensor(kinds)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, places


def each_erased(pictures, cells):
    """Erases every shape of every second picture, each as if it were alone; which are still shown: (pictures, 2)."""
    shown = torch.rand(len(pictures), 2, generator=torch.Generator().manual_seed(int(cells.sum()))) < 0.5
    for number, kind in (~shown).nonzero().tolist():
        row, column = divmod(int(cells[number, kind]), SIDE // CELL)
        pictures[number, :, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 0
    return shown


@cache
def trained_clip():
    """A CLIP whose picture and text belong together where the shape that the text names is in the picture."""

    def loss(model, pictures, cells):
        shown = each_erased(pictures, cells).float()
        kinds = torch.arange(16) % 2
        texts, _ = texts_of_shapes(kinds, seed=int(cells.sum()))
        logits = model(pixel_values=pictures, **texts).logits_per_image
        return torch.nn.functional.binary_cross_entropy_with_logits(logits - 3, shown[:, kinds])

    torch.manual_seed(1)
    model, last = trained(clip(layers=2), loss, steps=130, rate=5e-3)
    assert last < 0.2, last
    return model


@cache
def trained_detr():
    """A DETR whose first query finds the square, and whose second finds the ring."""
    backbone = transformers.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        out_features=["stage2"],
    )
    sizes = _DETR | {"num_queries": 2, "num_labels": 2}
    config = transformers.DetrConfig(**_BACKBONE, backbone_config=backbone, **sizes, dropout=0.0)

    def loss(model, pictures, cells):
        wanted = torch.where(each_erased(pictures, cells), torch.arange(2), 2)
        return torch.nn.functional.cross_entropy(model(pictures).logits.flatten(0, 1), wanted.flatten())

    torch.manual_seed(3)
    model, last = trained(perturbed(transformers.DetrForObjectDetection(config)), loss, steps=160, rate=3e-3)
    assert last < 0.2, last
    return model
