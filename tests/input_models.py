"""A tiny model of each kind of input besides photographs, with random weights, as the command line loads them."""

import pytest
import torch
import transformers
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import vitcam
from input_files import SMALL
from small_models import perturbed

NAMES = ("right", "left")
"""Not in the order of their folders."""


def clip():
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        **SMALL, image_size=32, patch_size=8, num_frames=4, tubelet_size=2, num_labels=2
    )
    picture = vitcam.Preprocessing((32, 32), (0.4,) * 3, (0.3,) * 3, resize_mode="shortest")
    return _loaded(
        transformers.VideoMAEForVideoClassification(config), vitcam.ClipPreprocessing(4, picture), "clip"
    )


def sound():
    """Of patches that overlap."""
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        **SMALL,
        patch_size=8,
        frequency_stride=6,
        time_stride=6,
        max_length=96,
        num_mel_bins=32,
        num_labels=2,
    )
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=96)
    return _loaded(transformers.ASTForAudioClassification(config), extractor, "sound")


class Volumes(nn.Module):
    """MONAI's ViT, whose output is a pair."""

    def __init__(self, size, patch, width, hidden, classes=2, **options):
        super().__init__()
        nets = pytest.importorskip("monai.networks.nets", reason="MONAI isn't installed: pip install monai")
        self.vit = nets.ViT(
            1, size, patch, width, hidden, 2, 2, classification=True, num_classes=classes, **options
        )

    def forward(self, given):
        return self.vit(given)[0]


def volume():
    torch.manual_seed(0)
    return _loaded(
        Volumes((8, 12, 16), 4, 16, 32), vitcam.VolumePreprocessing((8, 12, 16), mean=0.5, std=0.25), "volume"
    )


def bands():
    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=32, patch_size=8, in_chans=5, embed_dim=16, depth=2, num_heads=2, num_classes=2
    )
    prepare = vitcam.BandPreprocessing((32, 32), mean=(100.0,) * 5, std=(30.0,) * 5, shown=(4, 1, 0))
    return _loaded(network, prepare, "bands")


def _loaded(network, preprocessing, spec):
    return vitcam.LoadedModel(perturbed(network, 0.4, 0.1), preprocessing, class_names=NAMES, spec=spec)
