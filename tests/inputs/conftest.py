"""Models that take clips and sounds, in folders."""

import pytest
import transformers

from input_files import SMALL


@pytest.fixture(scope="session")
def clip_model(tmp_path_factory):
    """The folder of a VideoMAE that takes eight frames of 32×32."""
    folder = tmp_path_factory.mktemp("videomae")
    config = transformers.VideoMAEConfig(
        **SMALL,
        image_size=32,
        patch_size=8,
        num_frames=8,
        tubelet_size=2,
        id2label={0: "left", 1: "right", 2: "up"},
    )
    transformers.VideoMAEForVideoClassification(config).save_pretrained(folder)
    processor = transformers.VideoMAEImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sound_model(tmp_path_factory):
    """The folder of an AST that hears nearly one second, in 32 bands."""
    folder = tmp_path_factory.mktemp("ast")
    config = transformers.ASTConfig(
        **SMALL,
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        max_length=96,
        num_mel_bins=32,
        id2label={0: "low", 1: "high"},
    )
    transformers.ASTForAudioClassification(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=96).save_pretrained(folder)
    return folder
