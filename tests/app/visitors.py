"""Models and a listener for tests of the app."""

import timm
import torch
from torch import nn

from vitcam.app.queue import Ticket
from vitcam.models import LoadedModel, Preprocessing, load_model
from vitcam.models.promptable import ImageTower

EMBEDDED = load_model("embedded:photo")


def clip(spec="open_clip:fake"):
    """A model that compares images with texts: small, random, and its texts mean nothing."""
    torch.manual_seed(0)
    tower = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=8)
    nn.init.normal_(tower.head.weight, std=0.5)

    def encode(texts):
        rows = [torch.Generator().manual_seed(sum(map(ord, text))) for text in texts]
        return nn.functional.normalize(torch.stack([torch.randn(8, generator=row) for row in rows]), dim=-1)

    return LoadedModel(
        ImageTower(tower, torch.tensor(10.0)).eval(),
        Preprocessing(size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3),
        text_encoder=encode,
        spec=spec,
    )


def load(spec):
    """Loads nothing twice: the tests only read."""
    return clip(spec) if "fake" in spec else EMBEDDED if spec == "embedded:photo" else load_model(spec)


def ticket(owner="somebody", tell=lambda text: None):
    """What somebody waits for who doesn't listen."""
    return Ticket(owner, tell)


def whole(answers):
    """The last of them: what is finished in the end."""
    *_, last = answers
    return last
