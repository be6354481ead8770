"""Which tokens are read is asked of the score that is explained, and doesn't depend on the images seen before."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from hostile_models import IMAGES, METHODS, ViT, assert_same, explained

import vitcam

READ = ("agcam", "attention", "rollout", "gae", "gradsam", "legrad", "lrp")
Output = namedtuple("Output", ["logits", "dense"])


class Dense(ViT):
    """Logits of the class token, and beside them those of every token."""

    kind: type = dict

    def forward(self, images):
        x = self.through(self.tokens(images))
        logits, dense = self.read(x), self.head(self.norm(x))
        if self.kind is tuple:
            return logits, dense
        return {"logits": logits, "dense": dense} if self.kind is dict else Output(logits, dense)


class OfOneToken(ViT):
    def read(self, x):
        return self.head(self.norm(x)[:, 6])


class OfTheMean(ViT):
    def read(self, x):
        return self.head(self.norm(x))[:, 1:].mean(1)


TOKENS = {
    dict: lambda output: output["dense"],
    tuple: lambda output: output[1],
    Output: lambda output: output.dense,
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_score_of_other_tokens_than_the_logits(kind):
    model = Dense()
    model.kind = kind
    read = (
        READ if kind is dict else ("agcam", "rollout", "gae")
    )  # how a score is found in it, and not every map
    explained(model, methods=("agcam",))
    for reads, score in (
        (OfOneToken, lambda output: TOKENS[kind](output)[torch.arange(2), 6, 1]),
        (OfTheMean, lambda output: TOKENS[kind](output)[:, 1:, 1].mean(1)),
    ):
        methods = [each for each in read if each != "lrp" or reads is OfOneToken]
        found = {method: vitcam.explain(model, IMAGES, method, targets=score).heatmaps for method in methods}
        assert_same(found, explained(reads(), methods=tuple(methods)))
    assert_same(explained(model, methods=read), explained(ViT(), methods=read))


def test_a_function_of_the_logits_alone_takes_no_further_pass():
    model, passes = Dense(), []
    score = {
        "logits": lambda output: output["logits"][:, 1],
        "dense": lambda output: output["dense"][:, 6, 1],
    }
    counted = {}
    model.register_forward_hook(lambda *_: passes.append(1))
    for name, function in score.items():
        vitcam.explain(model, IMAGES, "agcam", targets=function)
        passes.clear()
        vitcam.explain(model, IMAGES, "gae", targets=function)
        counted[name] = len(passes)
    assert counted["logits"] == 1
    assert counted["dense"] > 1


class Largest(ViT):
    def read(self, x):
        return self.head(self.norm(x)[:, 1:].amax(1))


class LargestFew(ViT):
    def read(self, x):
        return self.head(self.norm(x)[:, 1:].topk(2, dim=1).values.mean(1))


@pytest.mark.parametrize("kind", [Largest, LargestFew])
def test_the_largest_of_the_patches_of_another_image(kind):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    model, fresh = kind(side=8), kind(side=8)
    explained(model, images[:1], METHODS)
    assert_same(explained(model, images[1:]), explained(fresh, images[1:]))
    row = vitcam.inspect(fresh, images[1:])
    assert "64" in str(row)


def test_some_of_the_patches_only():
    class First(ViT):
        def read(self, x):
            return self.head(self.norm(x)[:, 1:5].mean(1))

    class Others(ViT):
        def read(self, x):
            x = self.norm(x)
            return self.head(x[:, 1:5].mean(1) + 0 * x[:, 5:].mean(1))

    assert_same(explained(First()), explained(Others()))
    assert "4" in str(vitcam.inspect(First(), IMAGES))
