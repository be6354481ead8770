"""The map of the picture and the weights of the text's tokens, of models that are given both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import answer_models as models
import joint_models as joint
import numpy as np
import pytest
import torch

import vitcam
from contract import naive_relevance as naive
from vitcam.render.words import FOR

EYE = torch.eye(6, dtype=torch.double)


def of_two_towers(bars, read):
    """The picture's own gae is tested elsewhere."""
    return None, (naive.self_attention(bars[3:]) - EYE)[read]


def of_text_that_reads_the_picture(bars, read):
    _, text, across = naive.encoder_decoder(bars[:3], bars[3::2], bars[4::2])
    return across[read, 1:], (text - EYE)[read]


def of_one_sequence(bars, read):
    row = naive.self_attention(bars)[read]
    row[read] -= 1
    return row[7:], row[:6]


@dataclass(frozen=True)
class Case:
    build: Callable[[], torch.nn.Module]
    targets: Any
    score: Callable[[Any], torch.Tensor]
    expected: Callable[[list[torch.Tensor], int], tuple[torch.Tensor | None, torch.Tensor]]
    read: int


CASES = {
    "CLIPModel": Case(
        models.clip, vitcam.matching(), lambda output: output.logits_per_image[0, 0], of_two_towers, 5
    ),
    "SiglipModel": Case(
        models.siglip, vitcam.matching(), lambda output: output.logits_per_image[0, 0], of_two_towers, 5
    ),
    "BlipForImageTextRetrieval": Case(
        joint.blip_matching,
        vitcam.matching(),
        lambda output: output.itm_score[0, 1],
        of_text_that_reads_the_picture,
        0,
    ),
    "BlipForConditionalGeneration": Case(
        joint.blip_captioning,
        vitcam.next_token(7, position=3),
        lambda output: output.logits[0, 3, 7],
        of_text_that_reads_the_picture,
        3,
    ),
    "ViltForQuestionAnswering": Case(joint.vilt, 2, lambda output: output.logits[0, 2], of_one_sequence, 0),
}


def close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


def weights(e, number):
    return torch.tensor([each.weight for each in e.text[number][0]])


@pytest.mark.parametrize("name", CASES)
def test_picture_and_text_are_the_oracles_one_by_one_and_together(name, monkeypatch):
    case, images, inputs = CASES[name], models.noise(2), models.text_inputs(2)
    model = case.build()
    e = vitcam.explain(model, images, "gae", case.targets, inputs=inputs)
    assert [[each.id for each in row[0]] for row in e.text] == inputs["input_ids"].tolist()
    alone = vitcam.explain(model, images, "gae", case.targets, inputs=inputs, batch_size=1)
    # The order of ViLT's patches is drawn anew in each call: the oracle gets them as they stand.
    monkeypatch.setattr(torch, "multinomial", lambda weights, count: torch.arange(count))
    model.set_attn_implementation("eager")
    for number in (0, 1):
        rows = slice(number, number + 1)
        given = {"pixel_values": images[rows], **{key: value[rows] for key, value in inputs.items()}}
        picture, text = case.expected(naive.bars_in_order(model, case.score, **given), case.read)
        close(weights(e, number), text)
        close(alone.heatmaps[number], e.heatmaps[number].double())
        close(weights(alone, number), text)
        if picture is not None:
            close(e.heatmaps[number].flatten(), picture)


def test_embedding_times_gradient_is_autograds():
    model, images, inputs = models.clip(), models.noise(2), models.text_inputs(2)
    e = vitcam.explain(model, images, "ixg", vitcam.matching(), inputs=inputs)
    kept, table = [], model.text_model.embeddings.token_embedding
    handle = table.register_forward_hook(lambda module, args, output: kept.append(output))
    score = model(pixel_values=images, **inputs).logits_per_image.diagonal().sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    expected = (gradient * kept[0]).sum(dim=-1).detach().double()
    for number in (0, 1):
        close(weights(e, number), expected[number])
    libra = vitcam.explain(model, images, "ixg(rules='libra')", vitcam.matching(), inputs=inputs)
    assert libra.text == ()


def test_hidden_tokens_weigh_nothing_and_other_methods_give_no_weights():
    model, images, inputs = joint.blip_matching(), models.noise(2), models.text_inputs(2)
    inputs["attention_mask"][:, 4:] = 0
    e = vitcam.explain(model, images, "gae", vitcam.matching(), inputs=inputs)
    assert weights(e, 1)[4:].tolist() == [0, 0]
    assert weights(e, 1)[:4].min() > 0
    other = vitcam.explain(model, images, "random", vitcam.matching(), inputs=inputs)
    assert other.text == ()


def test_tokens_are_called_as_the_tokenizer_calls_them_and_are_kept(tmp_path):
    class Tokenizer:
        def convert_ids_to_tokens(self, ids):
            return [f"<{each}>" for each in ids]

    loaded = vitcam.LoadedModel(models.clip(), vitcam.Preprocessing.paper(), tokenizer=Tokenizer())
    inputs = models.text_inputs(3)
    e = vitcam.explain(loaded, models.noise(3), "gae", vitcam.matching(), inputs=inputs, batch_size=2)
    assert [each.token for each in e.text[2][0]] == [f"<{each}>" for each in inputs["input_ids"][2].tolist()]
    assert e[1].text == e.text[1:2]
    e.save(tmp_path)
    assert vitcam.load(tmp_path).text == e.text
    assert replace(e, text=()).text == ()


@pytest.mark.parametrize("kind", [0, 1])
def test_a_trained_model_looks_at_the_shape_that_the_text_names_and_at_its_name(kind):
    pictures, cells = models.shapes(40, seed=7)
    texts, places = joint.texts_of_shapes([kind] * 40, seed=3)
    e = vitcam.explain(joint.trained_clip(), pictures, "gae", vitcam.matching(), inputs=texts)
    found = e.heatmaps[:, 0].flatten(1).argmax(dim=1)
    assert float((found == cells[:, kind]).float().mean()) > 0.9
    assert float((found == cells[:, 1 - kind]).float().mean()) < 0.1
    by_gradient = vitcam.explain(joint.trained_clip(), pictures, "ixg", vitcam.matching(), inputs=texts)
    words = torch.stack([weights(by_gradient, number)[1:-1] for number in range(40)])
    assert float((words.abs().argmax(dim=1) == places - 1).float().mean()) > 0.8


def test_a_figure_shows_the_tokens_below_the_maps_of_methods_that_weigh_them():
    inputs = models.text_inputs(1)
    found = vitcam.compare(models.clip(), models.noise(1), ["gae", "agcam"], vitcam.matching(), inputs=inputs)
    picture, without = (np.asarray(vitcam.figure(found[name], notes=["n"])) for name in ("gae", "agcam"))
    assert picture.shape[0] > without.shape[0]
    assert (picture == FOR).all(2).any()
    assert not (without == FOR).all(2).any()
