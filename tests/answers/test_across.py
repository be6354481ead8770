"""Relevance through the attention between sequences: of encoders and decoders, of an image and a text."""

from __future__ import annotations

from functools import cache

import answer_models as models
import joint_models as joint
import pytest
import torch

import vitcam
from contract import naive_relevance as naive
from vitcam.errors import MethodError
from vitcam.methods.gae_across import _with_itself

DETECTORS = {
    "DetrForObjectDetection": models.detr,
    "ConditionalDetrForObjectDetection": joint.conditional_detr,
    "TableTransformerForObjectDetection": joint.table_transformer,
}
TARGETS = {
    "class": (vitcam.detections(1, query=2), lambda output: output.logits[0, 2, 1]),
    "bottom": (
        vitcam.detections(query=3, by="bottom"),
        lambda output: output.pred_boxes[0, 3, 1] + output.pred_boxes[0, 3, 3] / 2,
    ),
}


detr = cache(models.detr)


def close(found, expected):
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=1e-3, atol=1e-5 * float(expected.max())
    )


def row_of_detector(model, image, score, query):
    """The oracle's R^qi of a query, by the attention that the model itself returns."""
    bars = naive.with_gradients(model, score, pixel_values=image)
    encoder, decoder, crosses = (bars[f"{name}_attentions"] for name in ("encoder", "decoder", "cross"))
    return naive.encoder_decoder(encoder, decoder, crosses)[2][query]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("DetrForObjectDetection", "class"),
        ("ConditionalDetrForObjectDetection", "bottom"),
        ("TableTransformerForObjectDetection", "class"),
    ],
)
def test_relevance_of_a_query_is_the_papers_one_by_one_and_together(name, target):
    model, images = DETECTORS[name](), models.noise(2)
    targets, score = TARGETS[target]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    e = vitcam.explain(model, images, "gae", targets)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert e.heatmaps.shape == (2, 1, 4, 4)
    alone = vitcam.explain(model, images, "gae", targets, batch_size=1)
    close(alone.heatmaps, e.heatmaps)
    model.set_attn_implementation("eager")
    for number in (0, 1):
        expected = row_of_detector(model, images[number : number + 1], score, targets.query)
        close(e.heatmaps[number].flatten(), expected)


def test_relevance_of_a_trained_detectors_query_is_where_its_object_is():
    # What a token of the backbone sees is centred on the corner of its cell, where four cells meet.
    pictures, cells = models.shapes(40, seed=7)
    for kind in (0, 1):
        e = vitcam.explain(joint.trained_detr(), pictures, "gae", vitcam.detections(kind, query=kind))
        found = e.heatmaps[:, 0].flatten(1).argmax(dim=1)
        own, other = (near(found, cells[:, each]) for each in (kind, 1 - kind))
        assert own > 0.8, own
        assert other < 0.3, other


def near(found, cells):
    """How often a token is that of a cell, or its neighbour to the right or below."""
    rows, columns = found // 4 - cells // 4, found % 4 - cells % 4
    return float(((rows >= 0) & (rows <= 1) & (columns >= 0) & (columns <= 1)).float().mean())


def test_each_of_several_targets_has_the_map_that_it_has_alone():
    model, images = detr(), models.noise(1)
    both = vitcam.explain(model, images, "gae", vitcam.detections(0, top=2))
    queries = [int(each.label.rpartition(" ")[2]) for each in both.answered[0]]
    for place, query in enumerate(queries):
        alone = vitcam.explain(model, images, "gae", vitcam.detections(0, query=query))
        close(both.heatmaps[:, place], alone.heatmaps[:, 0])


def test_a_zero_row_stays_zero_where_the_sum_would_be_divided_by():
    bar = torch.tensor([[0.0, 0.0], [0.3, 0.1]], dtype=torch.double)
    expected = torch.tensor([[1.0, 0.0], [0.75, 1.25]], dtype=torch.double)
    close(naive.normalised(torch.eye(2, dtype=torch.double) + bar), expected)
    attention = torch.rand(1, 1, 3, 2, dtype=torch.double)
    close(_with_itself(bar[None, None], attention), attention @ expected)
    other = attention.transpose(-2, -1)
    close(_with_itself(bar[None, None], other, transposed=True), expected.T @ other)


def test_other_methods_of_attention_and_options_are_refused():
    model, images, targets = detr(), models.noise(1), vitcam.detections(1, query=2)
    for method in ("agcam", "rollout"):
        with pytest.raises(MethodError, match=r"isn't defined for .* queries of its own .* work on it: gae"):
            vitcam.explain(model, images, method, targets)
    for options in ({"start_layer": -1}, {"rules": "libra"}):
        with pytest.raises(MethodError, match="has no options there"):
            vitcam.explain(model, images, "gae", targets, **options)
    found = vitcam.inspect(model, images)
    assert not found.methods["gae"]
    assert "16 tokens of the image, and 5 of others" in str(found)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (joint.deformable_detr, "read the image otherwise than by attention .*deformable"),
        (joint.rt_detr, "as deformable attention does"),
    ],
)
def test_deformable_attention_is_refused(build, message):
    torch.manual_seed(0)
    with pytest.raises(MethodError, match=message):
        vitcam.explain(build(), torch.randn(1, 3, 64, 64), "gae", vitcam.detections(1, query=2))


def rolled(place):
    """A hook that turns the tokens of one argument round."""
    return lambda module, args: (*args[:place], args[place].roll(1, dims=1), *args[place + 1 :])


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ("decoder.layers.1", 0),  # queries change places between two layers
        ("decoder.layers.1", 4),  # so do the image's tokens that they read
    ],
)
def test_tokens_that_change_places_are_refused(layer, place):
    model = models.detr()
    model.model.get_submodule(layer).register_forward_pre_hook(rolled(place))
    with pytest.raises(MethodError, match="gae isn't defined"):
        vitcam.explain(model, models.noise(1), "gae", vitcam.detections(1, query=2))


def test_a_decoder_that_reads_tokens_as_they_were_is_refused():
    model, kept = models.detr(), []
    layers = model.model
    layers.encoder.layers[0].register_forward_hook(lambda module, args, output: kept.append(output))

    def as_it_was(module, args):
        earlier = kept[-1][0] if isinstance(kept[-1], tuple) else kept[-1]
        return (*args[:4], earlier, *args[5:])

    layers.decoder.layers[0].register_forward_pre_hook(as_it_was)
    with pytest.raises(MethodError, match="gae isn't defined"):
        vitcam.explain(model, models.noise(1), "gae", vitcam.detections(1, query=2))
