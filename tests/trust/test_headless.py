"""A backbone's features aren't explained as classes, and no classifier is taken for a backbone."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import vitcam
from families import FAMILIES, images_of, model_of
from small_models import HomemadeViT, hugging_face, torchvision_vit
from vitcam.errors import ModelError
from vitcam.recording import find_logits
from vitcam.recording.classifier import Lineage, check_head

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def checked(model, images):
    with torch.no_grad(), Lineage() as lineage:
        logits = find_logits(model.eval()(images))
    check_head(model, logits, lineage)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.target is None])
def test_no_family_is_taken_for_a_backbone(name):
    checked(model_of(name), images_of(name, 1))


def timm_backbone(name, **options):
    return timm.create_model(name, num_classes=0, img_size=64, depth=2, **options)


def torchvision_backbone():
    model = torchvision_vit()
    model.heads = nn.Identity()
    return model


class PostNorm(HomemadeViT):
    def __init__(self, head):
        super().__init__(head=head)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(24, 3, 48, batch_first=True) for _ in range(2))


class ClassAndMean(HomemadeViT):
    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        x = F.normalize(x, dim=-1)
        return self.head(torch.cat([x[:, 0], x[:, 1:].mean(1)], dim=-1))


def written_out(q, k, v, dropout):
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


BACKBONES = {
    "timm, class token": lambda: timm_backbone("vit_tiny_patch16_224"),
    "timm, mean": lambda: timm_backbone("vit_tiny_patch16_224", global_pool="avg", class_token=False),
    "timm, registers": lambda: timm_backbone("vit_small_patch14_reg4_dinov2"),
    "timm, pooling attention": lambda: timm_backbone("vit_base_patch16_siglip_224"),
    "torchvision": torchvision_backbone,
    "hugging face without labels": lambda: hugging_face(
        "ViTForImageClassification", "ViTConfig", num_labels=0
    ),
    "homemade": lambda: HomemadeViT(head=nn.Identity()),
    "homemade, mean": lambda: HomemadeViT(head=nn.Identity(), pool="mean"),
    "homemade, normalised": lambda: HomemadeViT(
        head=nn.Sequential(nn.LayerNorm(24), nn.Dropout(), nn.Tanh())
    ),
    "homemade, batch norm": lambda: HomemadeViT(head=nn.BatchNorm1d(24)),
    "homemade, class token and mean": lambda: ClassAndMean(head=nn.Identity()),
    "homemade, post-norm": lambda: PostNorm(head=nn.Identity()),
    "homemade, written out": lambda: HomemadeViT(written_out, head=nn.Identity()),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_are_refused_unless_a_target_says_what_to_explain(name):
    model = BACKBONES[name]().eval()
    images = torch.randn(1, 3, 70, 70) if "registers" in name else IMAGES[:1]
    if "registers" in name:
        model = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=70, depth=2).eval()
    for targets in (None, 3, "top2"):
        with pytest.raises(
            ModelError, match=r"has no classification head: its output of shape .*features.*targets"
        ):
            vitcam.explain(model, images, "gae", targets=targets)
    e = vitcam.explain(model, images, "gae", targets=lambda output: find_logits(output)[:, 3])
    assert e.targets.tolist() == [[-1]]


class NormFace(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.prototypes, self.by = nn.Parameter(torch.randn(24, 24)), by

    def forward(self, x):
        return self.by(x, self.prototypes)


class Residual(nn.Module):
    """Logits that another layer corrects."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(24, 24), nn.Linear(24, 24)

    def forward(self, x):
        logits = self.first(x)
        return logits + 0.1 * self.second(logits)


class OfEveryToken(HomemadeViT):
    """Logits of each token, averaged."""

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x).softmax(-1).mean(1).log()


class Ensemble(nn.Module):
    def __init__(self, mean):
        super().__init__()
        self.members, self.mean = nn.ModuleList(HomemadeViT(head=nn.Linear(24, 24)) for _ in range(2)), mean

    def forward(self, images):
        return self.mean([member(images) for member in self.members])


class Custom(torch.autograd.Function):
    """Arithmetic that no function mode sees into."""

    @staticmethod
    def forward(ctx, x, weight):
        return x @ weight

    @staticmethod
    def backward(ctx, gradient):
        raise AssertionError("not needed here")


# As many classes as there are features, so that the width alone tells nothing.
CLASSIFIERS = {
    "linear": lambda: HomemadeViT(head=nn.Linear(24, 24)),
    "linear and sigmoid": lambda: HomemadeViT(head=nn.Sequential(nn.Linear(24, 24), nn.Sigmoid())),
    "linear and norm": lambda: HomemadeViT(
        head=nn.Sequential(nn.Linear(24, 24), nn.BatchNorm1d(24), nn.LayerNorm(24))
    ),
    "multi-layer": lambda: HomemadeViT(
        head=nn.Sequential(nn.Linear(24, 48), nn.GELU(), nn.Dropout(), nn.Linear(48, 24), nn.LogSoftmax(-1))
    ),
    "convolution": lambda: HomemadeViT(
        head=nn.Sequential(nn.Unflatten(1, (24, 1, 1)), nn.Conv2d(24, 24, 1), nn.Flatten())
    ),
    "cosine": lambda: HomemadeViT(
        head=NormFace(lambda x, p: F.cosine_similarity(x[:, None], p[None], dim=-1) * 16)
    ),
    "normalised product": lambda: HomemadeViT(
        head=NormFace(lambda x, p: 16 * F.normalize(x) @ F.normalize(p).T)
    ),
    "distance": lambda: HomemadeViT(head=NormFace(lambda x, p: -torch.cdist(x, p))),
    "distance by arithmetic": lambda: HomemadeViT(
        head=NormFace(lambda x, p: -(x[:, None] - p[None, :10]).square().sum(-1))
    ),
    "einsum": lambda: HomemadeViT(head=NormFace(lambda x, p: torch.einsum("bd,kd->bk", x, p))),
    "addmm": lambda: HomemadeViT(head=NormFace(lambda x, p: torch.addmm(p[0], x, p))),
    "corrected": lambda: HomemadeViT(head=Residual()),
    "unknown function": lambda: HomemadeViT(head=NormFace(Custom.apply)),
    "unknown function, scaled": lambda: HomemadeViT(
        head=NormFace(lambda x, p: Custom.apply(x, p) * 2 + p[0])
    ),
    "a part of the features": lambda: HomemadeViT(head=NormFace(lambda x, p: x[:, :7] @ p[:7])),
    "every token": lambda: OfEveryToken(head=nn.Linear(24, 24)),
    "sum of two": lambda: Ensemble(lambda logits: (logits[0] + logits[1]) / 2),
    "mean of two": lambda: Ensemble(lambda logits: torch.stack(logits).mean(0)),
    "post-norm": lambda: PostNorm(head=nn.Linear(24, 24)),
    "written out": lambda: HomemadeViT(written_out, head=nn.Linear(24, 24)),
    "timm, head put in later": lambda: with_a_head(timm_backbone("vit_tiny_patch16_224")),
    "timm, head around it": lambda: nn.Sequential(timm_backbone("vit_tiny_patch16_224"), nn.Linear(192, 192)),
    "torchvision": torchvision_vit,
}


def with_a_head(model):
    model.head = nn.Linear(192, 192)
    return model


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_are_none(name):
    checked(CLASSIFIERS[name](), IMAGES)


def test_a_head_taken_off_between_two_calls_is_noticed():
    model = HomemadeViT()
    vitcam.explain(model, IMAGES)
    model.head = nn.Identity()
    with pytest.raises(ModelError, match="has no classification head"):
        vitcam.explain(model, IMAGES)


def test_it_is_looked_at_once_per_model():
    model, seen = HomemadeViT(), []
    hook = model.head.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    vitcam.explain(model, IMAGES, "rollout")
    seen.clear()
    vitcam.explain(model, IMAGES, "rollout")
    hook.remove()
    assert seen == [2]


def test_convolutional_networks_are_left_alone():
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    checked(network, IMAGES)
