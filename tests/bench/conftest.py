"""A benchmark of a tiny model."""

from dataclasses import replace

import pytest
import torch
from bench_fakes import SPEC
from timm.models.vision_transformer import VisionTransformer

from vitcam.bench.machine import this_machine
from vitcam.bench.measuring import Bench
from vitcam.bench.settings import Settings
from vitcam.bench.subject import load_subject


@pytest.fixture(scope="session")
def subject():
    return load_subject(SPEC, "fp32")


@pytest.fixture(scope="session")
def rigid(subject):
    """A model that takes images of its own size only."""
    module = VisionTransformer(img_size=64, patch_size=16, embed_dim=16, depth=2, num_heads=2).eval()
    return replace(subject, loaded=replace(subject.loaded, module=module))


@pytest.fixture
def bench(subject):
    """Makes one with these settings."""

    def make(**settings):
        asked = Settings(**{"model": SPEC, "batches": (2,), "repeats": 1, "threads": 1, **settings})
        made = Bench(asked, this_machine(torch.device("cpu"), 1), lambda sentence: None)
        made.__dict__["subject"] = subject  # as if it had been loaded
        return made

    return make
