"""Models of more than images: each image is explained with what belongs to it, and with nothing else's."""

from __future__ import annotations

import threading
from collections import UserDict

import pytest
import torch
import transformers
from torch import nn

import vitcam
from small_models import HomemadeViT, hugging_face, perturbed
from vitcam.errors import ImageError, ModelError
from vitcam.recording import Inputs, Need, Score, record
from vitcam.recording.binding import bound

METHODS = [
    "agcam",
    "attention",
    "rollout",
    "lrp",
    "gae",
    "gradsam",
    "legrad",
    "gradcam",
    "attnlrp",
    "captum:Saliency",
    "captum:FeatureAblation",
]
BATCH = 8


class WithMore(HomemadeViT):
    """Looks at an image by the light of numbers and words that belong to it.

    Args:
        where: "front", "tokens" (of every block) or "head", where the numbers come in.
    """

    def __init__(self, where="front", pool="class"):
        super().__init__(pool=pool)
        self.where = where
        self.of_numbers = nn.Linear(3, 24)
        self.of_words = nn.Embedding(10, 24)

    def forward(self, images, numbers=None, words=None, *, scale=1.0):
        more = torch.zeros(len(images), 24) if numbers is None else self.of_numbers(numbers)
        if words is not None:
            ids = words if isinstance(words, torch.Tensor) else torch.tensor(words)
            more = more + self.of_words(ids).mean(dim=1)
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.where == "front":
            x = x * (1 + more[:, None])
        for block in self.blocks:
            x = block(x * (1 + scale * more[:, None]) if self.where == "tokens" else x)
        x = x[:, 0] if self.pool == "class" else x[:, 1:].mean(1)
        return self.head(x * (1 + scale * more) if self.where == "head" else x)


@pytest.fixture(scope="module")
def images():
    return torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def numbers():
    return 2 * torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(2))


WORDS = [[i % 5, (3 * i) % 7] for i in range(BATCH)]


def model_of(where="front", pool="class"):
    return perturbed(WithMore(where, pool), 0.2)


class Settled(nn.Module):
    """The model of one image, with what belongs to it built in: what a user would write by hand."""

    def __init__(self, model, **more):
        super().__init__()
        self.model, self.more = model, more

    def forward(self, images):
        more = {
            name: value.expand(len(images), *value.shape[1:])
            if isinstance(value, torch.Tensor)
            else value * len(images)
            if isinstance(value, list)
            else value
            for name, value in self.more.items()
        }
        return self.model(images, **more)


@pytest.mark.parametrize("where", ["front", "tokens", "head"])
@pytest.mark.parametrize("method", METHODS)
def test_each_image_has_its_own(images, numbers, method, where):
    if method.startswith("captum"):
        pytest.importorskip("captum")
    model, some = model_of(where), 3
    found = vitcam.explain(
        model, images[:some], method, inputs={"numbers": numbers[:some], "words": WORDS[:some], "scale": 0.7}
    )
    for i in range(some):
        alone = Settled(model, numbers=numbers[i : i + 1], words=[WORDS[i]], scale=0.7)
        expected = vitcam.explain(alone, images[i : i + 1], method)
        torch.testing.assert_close(found.logits[i], expected.logits[0], atol=1e-5, rtol=1e-4)
        highest = float(expected.heatmaps.abs().max())
        torch.testing.assert_close(found.heatmaps[i], expected.heatmaps[0], atol=1e-4 * highest, rtol=1e-3)
    # What belongs to the first image is far from what belongs to the others.
    first = Settled(model, numbers=numbers[:1], words=[WORDS[0]], scale=0.7)
    assert not torch.allclose(first(images[1:2]), found.logits[1:2], atol=1e-2)


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("where", ["front", "tokens", "head"])
def test_a_batch_gives_what_its_images_give(images, numbers, where, pool):
    """Eight images, as many as copies of an image are looked at, by replay and without, in parts and whole."""
    model = model_of(where, pool)
    inputs = {"numbers": numbers, "words": WORDS}
    whole = vitcam.explain(model, images, inputs=inputs, targets="top2")
    parts = vitcam.explain(model, images, inputs=inputs, targets="top2", batch_size=3)
    ones = vitcam.explain(model, images, inputs=inputs, targets="top2", batch_size=1)
    for other in (parts, ones):
        torch.testing.assert_close(whole.logits, other.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(whole.heatmaps, other.heatmaps, atol=1e-5, rtol=1e-3)
    score = Score(choose=lambda logits: logits.topk(2).indices)
    given = Inputs(per_image=inputs)
    replayed, all_tokens = (
        record(model, images, score, Need.SKIP_GRADIENT, inputs=given, allow_replay=allowed)
        for allowed in (True, False)
    )
    assert replayed.replayed == (pool == "class")
    for one, other in zip(replayed.skip_gradients, all_tokens.skip_gradients, strict=True):
        rows = one.shape[3]
        torch.testing.assert_close(one, other[:, :, :, :rows], atol=1e-5, rtol=1e-3)


class OneByOne(WithMore):
    def forward(self, images, numbers=None, words=None, *, scale=1.0):
        assert len(images) == 1
        return super().forward(images, numbers, words, scale=scale)


def test_models_that_take_one_image_at_a_time(images, numbers):
    model = perturbed(OneByOne(), 0.2)
    found = vitcam.explain(model, images[:3], inputs={"numbers": numbers[:3]})
    for i in range(3):
        expected = vitcam.explain(Settled(model, numbers=numbers[i : i + 1]), images[i : i + 1])
        torch.testing.assert_close(found.heatmaps[i], expected.heatmaps[0], atol=1e-5, rtol=1e-3)


def test_everything_takes_them(images, numbers):
    model, inputs = model_of("tokens"), {"numbers": numbers}
    both = vitcam.compare(model, images, ["agcam", "rollout"], inputs=inputs)
    torch.testing.assert_close(both["agcam"].heatmaps, vitcam.explain(model, images, inputs=inputs).heatmaps)
    parts = vitcam.decompose(model, images, inputs=inputs)
    torch.testing.assert_close(parts.total(), both["agcam"].heatmaps)
    heads = vitcam.attention_heads(model, images, inputs=inputs)
    mean = vitcam.explain(model, images, "attention", inputs=inputs).heatmaps
    torch.testing.assert_close(heads.mean(1, keepdim=True), mean)
    assert vitcam.inspect(model, images, inputs=inputs).reads == ("token 0",)
    compiled_not = vitcam.explain(model, images, "rollout", inputs=inputs, precision="bf16")
    assert compiled_not.heatmaps.shape == (BATCH, 1, 4, 4)


def test_the_model_is_left_as_it_was(images, numbers):
    model = model_of()
    before = model(images)
    vitcam.explain(model, images, inputs={"numbers": numbers})
    assert not model._forward_pre_hooks
    torch.testing.assert_close(model(images), before)

    def fail(output):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        vitcam.explain(model, images, targets=fail, inputs={"numbers": numbers})
    assert not model._forward_pre_hooks


class Switched(HomemadeViT):
    """Another structure for another input: tokens of words stand in front of the patches, or behind them."""

    def forward(self, images, words, *, behind=False):
        x = self.patches(images).flatten(2).transpose(1, 2)
        more = torch.ones(len(images), words.shape[-1], 24) * 0.1
        token = self.class_token.expand(len(x), -1, -1)
        x = torch.cat([token, x, more] if behind else [token, more, x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


def test_what_is_remembered_is_of_the_same_inputs(images):
    model = perturbed(Switched(), 0.2)

    def grid(words, **more):
        return vitcam.inspect(model, images[:1], inputs={"words": words, **more}).grid

    two, five = torch.zeros(3, 2), torch.zeros(3, 5)
    for _ in range(2):
        assert grid(two).prefix == 3
        assert grid(five).prefix == 6
        assert grid(two, behind=True).prefix == 1
    assert (
        Inputs(shared={"ids": torch.tensor([1, 2])}).key != Inputs(shared={"ids": torch.tensor([1, 3])}).key
    )
    same = [Inputs(shared={"a": [1, None], "b": 2.0}, per_image={"n": torch.ones(k, 3)}) for k in (1, 4)]
    assert same[0].key == same[1].key
    assert Inputs(shared={"a": model}).key != Inputs(shared={"a": model}).key


def test_what_is_measured_is_remembered(images, numbers, monkeypatch):
    from vitcam.recording import facts

    model, measured = model_of(), []
    measure = facts._measured
    monkeypatch.setattr(facts, "_measured", lambda *given: measured.append(1) or measure(*given))
    for part in (slice(0, 4), slice(4, 8), slice(2, 3)):
        vitcam.explain(model, images[part], inputs={"numbers": numbers[part], "scale": 2.0})
    assert len(measured) == 1
    vitcam.explain(model, images, inputs={"numbers": numbers, "scale": 3.0})
    assert len(measured) == 2


class TextFirst(WithMore):
    """The image isn't the first argument."""

    def forward(self, words, image, numbers=None):
        return super().forward(image, numbers, words)


def test_the_image_is_found_by_name(images, numbers):
    model = perturbed(TextFirst(), 0.2)
    words = torch.tensor(WORDS)
    expected = vitcam.explain(perturbed(WithMore(), 0.2), images, inputs={"words": words})
    found = vitcam.explain(model, images, inputs={"words": words})
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    together = UserDict({"words": words, "image": images})
    torch.testing.assert_close(vitcam.explain(model, together).heatmaps, expected.heatmaps)
    torch.testing.assert_close(
        vitcam.decompose(model, together).total(), vitcam.explain(model, together).heatmaps
    )


def test_a_batch_of_hugging_face(images):
    model = perturbed(hugging_face("ViTForImageClassification", "ViTConfig", num_labels=5), 0.1)
    larger = torch.randn(2, 3, 96, 96)
    with pytest.raises(ModelError, match="itself failed"):
        vitcam.explain(model, larger)
    found = vitcam.explain(model, larger, inputs={"interpolate_pos_encoding": True})
    assert found.heatmaps.shape == (2, 1, 6, 6)
    torch.testing.assert_close(found.logits, model(larger, interpolate_pos_encoding=True).logits)
    batch = transformers.BatchFeature({"pixel_values": larger})
    again = vitcam.explain(model, batch, inputs={"interpolate_pos_encoding": True})
    torch.testing.assert_close(again.heatmaps, found.heatmaps)
    plain = perturbed(HomemadeViT(), 0.2)
    torch.testing.assert_close(
        vitcam.explain(plain, transformers.BatchFeature({"pixel_values": images})).heatmaps,
        vitcam.explain(plain, images).heatmaps,
    )


def test_a_whole_clip_with_texts():
    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = transformers.CLIPConfig(
        text_config={**settings, "vocab_size": 50, "max_position_embeddings": 8},
        vision_config={**settings, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    model = perturbed(transformers.CLIPModel(config), 0.1)
    images = torch.randn(2, 3, 32, 32)
    texts = torch.tensor([[1, 5, 7, 49], [1, 9, 4, 49], [1, 2, 3, 49]])
    batch = {"input_ids": texts, "attention_mask": torch.ones_like(texts), "pixel_values": images}
    found = vitcam.explain(model, batch, targets=lambda output: output.logits_per_image)
    assert found.heatmaps.shape == (2, 3, 4, 4)
    for i in range(2):
        one = {**batch, "pixel_values": images[i : i + 1]}
        alone = vitcam.explain(model, one, targets=lambda output: output.logits_per_image)
        torch.testing.assert_close(found.heatmaps[i], alone.heatmaps[0], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"number": 3}, ModelError, "takes no input 'number'; it takes images, numbers, words, scale"),
        (
            {"images": torch.ones(2, 3)},
            ModelError,
            "the image is given twice: as `images` and as the input 'images'",
        ),
        (
            {"numbers": torch.ones(7, 3, 8, 8)},
            ImageError,
            r"'numbers' has shape \(7, 3, 8, 8\): its first dimension must be the number of images, 8, or 1",
        ),
    ],
)
def test_inputs_that_do_not_fit(images, given, error, message):
    with pytest.raises(error, match=message):
        vitcam.explain(model_of(), images, inputs=given)


def test_images_that_cannot_be_told(images):
    hf = perturbed(hugging_face("ViTForImageClassification", "ViTConfig", num_labels=5), 0.1)
    with pytest.raises(ModelError, match=r"the image is given twice: .* the input 'pixel_values'"):
        vitcam.explain(hf, images, inputs={"pixel_values": images})
    with pytest.raises(ModelError, match="'scale' is given twice: with the images and as an input"):
        vitcam.explain(model_of(), {"images": images, "scale": 1.0}, inputs={"scale": 1.0})
    with pytest.raises(ModelError, match="takes no argument 'photo' for the images; it takes images"):
        vitcam.explain(model_of(), {"photo": images})
    for wrong in ({}, {"a": images, "b": images}, {"a": torch.ones(3)}):
        with pytest.raises(ImageError, match="must hold 'pixel_values', or exactly one float tensor"):
            vitcam.explain(model_of(), wrong)


def test_rows_of_images_are_never_guessed(images, numbers):
    model = model_of()
    with (
        bound(model, Inputs(per_image={"numbers": numbers})),
        pytest.raises(ModelError, match="'numbers' has rows for 8 images, and the model was given 3"),
    ):
        model(images[:3])
    with bound(model, Inputs(per_image={"numbers": numbers})):
        with bound(model, Inputs(per_image={"numbers": numbers[2:3]})):
            inner = model(images[:3])
        outer = model(images)
    torch.testing.assert_close(inner, model(images[:3], numbers[2:3].expand(3, -1)))
    torch.testing.assert_close(outer, model(images, numbers))


def test_other_threads_see_nothing_of_them(images, numbers):
    model, seen = model_of(), []
    before = model(images)
    with bound(model, Inputs(per_image={"numbers": numbers})):
        other = threading.Thread(target=lambda: seen.append(model(images)))
        other.start()
        other.join()
    torch.testing.assert_close(seen[0], before)
