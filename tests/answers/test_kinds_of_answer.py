"""Every kind of answer, on models of real packages: the maps are those of a naive oracle, batches are singles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import answer_models as models
import pytest
import torch

import vitcam
from contract import oracle
from vitcam.errors import MethodError
from vitcam.types import Box

REFERENCES = torch.randn(2, 3, models.SIDE, models.SIDE, generator=torch.Generator().manual_seed(8))


def cosine(embedding: Callable[[Any], torch.Tensor]) -> Callable[..., Callable[[Any], torch.Tensor]]:
    """The oracle's score: of images numbered ``rows`` to their own references."""

    def of(model, rows):
        with torch.no_grad():
            references = embedding(model(REFERENCES[rows]))
        return lambda output: torch.cosine_similarity(embedding(output), references)

    return of


@dataclass(frozen=True)
class Case:
    build: Callable[[], torch.nn.Module]
    targets: Callable[[slice], Any]
    """Of some of the two images."""
    score: Callable[[Any, slice], Callable[[Any], torch.Tensor]]
    patches: slice
    inputs: dict[str, Any] = field(default_factory=dict)


def of_query(query: int, column: int):
    return lambda model, rows: lambda output: output.logits[:, query, column]


CASES = {
    "timm backbone": Case(
        models.timm_backbone,
        lambda rows: vitcam.similar_to(REFERENCES[rows]),
        cosine(lambda output: output),
        slice(1, 17),
    ),
    "Dinov2Model": Case(
        models.dinov2,
        lambda rows: vitcam.similar_to(REFERENCES[rows]),
        cosine(lambda output: output.pooler_output),
        slice(1, 17),
    ),
    "CLIPVisionModelWithProjection": Case(
        models.clip_vision,
        lambda rows: vitcam.similar_to(REFERENCES[rows]),
        cosine(lambda output: output.image_embeds),
        slice(1, 17),
    ),
    "value of a backbone": Case(
        models.timm_backbone,
        lambda rows: vitcam.value(7),
        lambda model, rows: lambda output: output[:, 7],
        slice(1, 17),
    ),
    "YolosForObjectDetection": Case(
        models.yolos,
        lambda rows: vitcam.detections("ring", query=3),
        of_query(3, 1),
        slice(1, 17),
    ),
    "a side of a YOLOS's box": Case(
        models.yolos,
        lambda rows: vitcam.detections(query=2, by="right"),
        lambda model, rows: lambda output: output.pred_boxes[:, 2, 0] + output.pred_boxes[:, 2, 2] / 2,
        slice(1, 17),
    ),
    "OwlViTForObjectDetection": Case(
        models.owlvit,
        lambda rows: vitcam.detections(query=6),
        of_query(6, 0),
        slice(1, 17),
        models.text_inputs(2),
    ),
    "CLIPModel": Case(
        models.clip,
        lambda rows: vitcam.matching(),
        lambda model, rows: lambda output: output.logits_per_image.diagonal(),
        slice(1, 17),
        models.text_inputs(2),
    ),
    "SiglipModel": Case(
        models.siglip,
        lambda rows: vitcam.matching(),
        lambda model, rows: lambda output: output.logits_per_image.diagonal(),
        slice(0, 16),
        models.text_inputs(2),
    ),
    "DPTForSemanticSegmentation": Case(
        models.dpt,
        lambda rows: vitcam.region(2, box=Box(8, 16, 24, 32)),
        lambda model, rows: lambda output: output.logits[:, 2, 32:64, 16:48].mean((1, 2)),
        slice(1, 17),
    ),
    "a head of one's own on every patch": Case(
        models.dense,
        lambda rows: vitcam.region(1, point=(20, 9)),
        lambda model, rows: lambda output: output[:, 1, 1, 2],
        slice(1, 17),
    ),
}


def inputs_of(case, rows):
    return {"inputs": {name: value[rows] for name, value in case.inputs.items()}} if case.inputs else {}


@pytest.mark.parametrize("name", CASES)
def test_maps_are_the_oracles_one_by_one_and_together_and_the_model_is_left_alone(name):
    case = CASES[name]
    model, images, both = case.build(), models.noise(2), slice(0, 2)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    together = vitcam.compare(
        *(model, images, ["gradsam", "gae", "rollout", "captum:Saliency"]),
        case.targets(both),
        **inputs_of(case, both),
    )
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.eval()
    for number in (0, 1):
        rows = slice(number, number + 1)
        alone = vitcam.compare(
            *(model, images[rows], list(together)), case.targets(rows), **inputs_of(case, rows)
        )
        for method, e in alone.items():
            close(e.heatmaps[0], together[method].heatmaps[number])

    def forward(pixels):
        if not case.inputs:
            return model(pixels)
        return model(pixel_values=pixels, **case.inputs)

    score = case.score(model, both)
    expected = naive_gradsam(forward, images, score)[:, case.patches]
    close(together["gradsam"].heatmaps.flatten(1), expected)
    with torch.no_grad():
        values = score(forward(images))
    close(torch.tensor([each[0].value for each in together["gae"].answered]), values)


def naive_gradsam(forward, images, score):
    """Over the image's own layers: other towers' attentions are of other tokens, and no gradient comes to them."""
    layers = [layer for layer in oracle.gradients(forward, images, score) if layer.maps.shape[-1] > 8]
    return sum((layer.maps.grad.relu() * layer.maps).mean(dim=(1, 2)) for layer in layers) / len(layers)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.detach().abs().max()))


@pytest.mark.parametrize(
    ("build", "targets", "inputs"),
    [
        (models.detr, vitcam.detections(1, query=2), {}),
        (models.segformer, vitcam.region(1, box=Box(8, 0, 24, 16)), {}),
        (models.blip_matching, vitcam.matching(), models.text_inputs(2)),
    ],
)
def test_where_tokens_cant_be_followed_attention_is_refused_and_pixels_are_explained(build, targets, inputs):
    model, images = build(), models.noise(2)
    with pytest.raises(MethodError, match=r"agcam isn't defined for .* Methods that work on it: .*occlusion"):
        vitcam.explain(model, images, "agcam", targets, inputs=inputs)
    e = vitcam.explain(model, images, "occlusion(size=1)", targets, inputs=inputs)
    assert e.heatmaps.flatten(2).std(dim=2).min() > 0
    painted = images[1:].clone()
    cell = models.SIDE // e.heatmaps.shape[-1]
    painted[:, :, cell : 2 * cell, 3 * cell : 4 * cell] = 0
    rows = {name: value[1:] for name, value in inputs.items()}
    as_it_is, without = (
        vitcam.explain(model, some, "random", targets, inputs=rows).answered[0][0].value
        for some in (images[1:], painted)
    )
    assert float(e.heatmaps[1, 0, 1, 3]) == pytest.approx(as_it_is - without, rel=1e-2, abs=1e-5)


@pytest.mark.parametrize("name", ["YolosForObjectDetection", "timm backbone"])
def test_a_method_of_many_passes_follows_the_same_score(name):
    case = CASES[name]
    model, images = case.build(), models.noise(2)
    e = vitcam.explain(model, images, "occlusion(size=1)", case.targets(slice(0, 2)))
    score = case.score(model, slice(0, 2))
    painted = images.clone()
    painted[:, :, 8:16, 24:32] = 0
    with torch.no_grad():
        lost = score(model(images)) - score(model(painted))
    close(e.heatmaps[:, 0, 1, 3], lost)


def test_down_is_the_map_of_the_negative_score():
    model, images = models.timm_backbone(), models.noise(2)
    down = vitcam.explain(model, images, targets=vitcam.value(3), direction="down")
    close(down.heatmaps, vitcam.explain(model, images, targets=lambda output: -output[:, 3]).heatmaps)
    assert down.label() == "value 3, down"
    up = vitcam.explain(model, images, targets=vitcam.value(3))
    assert not torch.allclose(up.heatmaps, down.heatmaps, atol=1e-4)
    assert up.answered[1][0].value == down.answered[1][0].value  # the value is what it is


def test_legrad_is_refused_where_the_head_reads_the_tokens_of_more_blocks_than_the_last():
    with pytest.raises(MethodError, match="legrad"):
        vitcam.explain(models.dpt(), models.noise(1), "legrad", vitcam.region(1, point=(3, 3)))


def test_it_is_saved_cut_joined_and_drawn(tmp_path):
    e = vitcam.explain(models.yolos(), models.noise(3), targets=vitcam.detections(top=2), batch_size=2)
    e.save(tmp_path)
    again = vitcam.load(tmp_path)
    assert again.answered == e.answered
    assert again.label(2, 1) == e.label(2, 1)
    assert e[1].answered == e.answered[1:2]
    assert len(e.answered) == 3
    (box,) = e.places(0, 1)
    assert tuple(box) == e.answered[0][1].box
    plain = vitcam.explain(models.yolos(), models.noise(3)[:1], targets=lambda output: output.logits[:, 0, 0])
    assert plain.places() == []
    assert vitcam.figure(e[:1]).width > 500
    assert e.overlay(0, 1).tobytes() != replace(e, answered=()).overlay(0, 1).tobytes()
