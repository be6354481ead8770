"""What kinds of answer refuse, and what they choose."""

from __future__ import annotations

from types import SimpleNamespace

import answer_models as models
import pytest
import torch

import vitcam
from small_models import HomemadeViT
from vitcam.answers import About
from vitcam.errors import ModelError, TargetError

IMAGES = models.noise(2)


def refused(match, model, targets, images=IMAGES, **options):
    with pytest.raises(TargetError, match=match):
        vitcam.explain(model, images, targets=targets, **options)


def test_a_headless_model_without_a_target_says_which_there_are():
    for model in (models.timm_backbone(), models.dinov2()):
        with pytest.raises(ModelError, match=r"vitcam\.similar_to"):
            vitcam.explain(model, IMAGES)
    with pytest.raises(ModelError, match=r"vitcam\.detections"):
        vitcam.explain(models.yolos(), IMAGES)


def test_what_is_no_similarity():
    model = models.timm_backbone()
    refused("3 references don't fit 2 images", model, vitcam.similar_to(models.noise(3)))
    refused("has 7 features, and the model gives 48", model, vitcam.similar_to(torch.ones(7)))
    refused("is zero or not finite", model, vitcam.similar_to(torch.zeros(48)))
    refused("An image needs a batch", model, vitcam.similar_to(torch.ones(48).long()))
    refused("embedding= gave shape", model, vitcam.similar_to(IMAGES, embedding=lambda output: output[:, 0]))
    headed = models.timm_backbone()
    headed.reset_classifier(5)
    refused("gives logits of classes", headed, vitcam.similar_to(IMAGES))
    refused("which part of the model's output", models.yolos(), vitcam.similar_to(IMAGES))
    refused("so that versus= has no meaning", model, vitcam.similar_to(IMAGES), versus=1)
    refused("direction must be 'up' or 'down'", model, vitcam.similar_to(IMAGES), direction="left")


def test_references_of_one_image_are_a_target_each_and_a_pair_explains_itself():
    model = models.timm_backbone()
    e = vitcam.explain(model, IMAGES[:1], targets=vitcam.similar_to(models.noise(3)))
    assert e.heatmaps.shape == (1, 3, 4, 4)
    assert e.label(0, 2) == "similarity to reference 2"
    assert e.answered[0][0].value == pytest.approx(1, abs=1e-5)  # the same picture
    pair = vitcam.explain(model, IMAGES, targets=vitcam.similar_to(IMAGES.flip(0)), batch_size=1)
    assert pair.answered[0][0].value == pytest.approx(pair.answered[1][0].value, abs=1e-5)
    assert (pair.targets == -1).all()
    assert pair.logits is None


def test_what_is_no_value():
    model = HomemadeViT()
    refused("there is no value 99", model, vitcam.value(99))
    refused("has no class names", model, vitcam.value("age"))
    refused("an empty list", model, vitcam.value([]))
    refused("and the model gave shape", models.dense(), vitcam.value(0))


def test_a_value_without_a_second_axis():
    class Flat(HomemadeViT):
        def forward(self, images):
            return super().forward(images)[:, 0]

    torch.manual_seed(0)
    flat, whole = Flat(), HomemadeViT()
    whole.load_state_dict(flat.state_dict())
    e, expected = (
        vitcam.explain(flat, IMAGES, targets=vitcam.value()),
        vitcam.explain(whole, IMAGES, targets=0),
    )
    torch.testing.assert_close(e.heatmaps, expected.heatmaps)


def test_what_is_no_detection():
    model = models.yolos()
    for options in ({"top": 1, "query": 2}, {"by": "middle"}, {"threshold": 0.0}, {"top": 0}):
        with pytest.raises(TargetError):
            vitcam.detections(**options)
    refused("there is no query 5", model, vitcam.detections(query=5))
    refused("more than the 5 queries", model, vitcam.detections(top=6))
    refused("nothing is found that is as sure", model, vitcam.detections(threshold=1.0))
    refused("there is no class 2", model, vitcam.detections(2))
    refused("dog", model, vitcam.detections("dog"))
    refused("needs a detector's output", models.timm_backbone(), vitcam.detections())


def chosen(answer, logits, boxes=None, config=None):
    module = torch.nn.Identity()
    module.config = SimpleNamespace(**config or {"num_labels": 2})
    about = About(module, len(logits), (32, 32), lambda images: [])
    answer = answer.prepared(about)
    boxes = torch.rand(*logits.shape[:2], 4) if boxes is None else boxes
    table = answer.table(SimpleNamespace(logits=logits, pred_boxes=boxes))
    return answer, table, answer.choose(table)


def test_no_object_is_the_last_column_where_the_configuration_says_so():
    # By a sigmoid the first query would be surer; by a softmax most of it is "no object".
    logits = torch.tensor([[[3.0, 0.0, 9.0], [2.0, 0.0, 0.0]]])
    _, _, by_softmax = chosen(vitcam.detections(), logits)
    _, _, by_sigmoid = chosen(vitcam.detections(), logits, config={"num_labels": 3})
    assert by_softmax.tolist() == [[7]]
    assert by_sigmoid.tolist() == [[2]]
    # Of texts there may be any number: the same two labels in a configuration say nothing.
    _, _, of_texts = chosen(vitcam.detections(), logits, config={"num_labels": 2, "text_config": object()})
    assert of_texts.tolist() == [[2]]
    with pytest.raises(TargetError, match="no_object=True"):
        chosen(vitcam.detections(), logits, config={"num_labels": 7})
    _, _, said = chosen(vitcam.detections(no_object=True), logits, config={"num_labels": 7})
    assert said.tolist() == [[7]]


def test_a_threshold_takes_all_that_are_as_sure_and_as_many_in_each_image():
    logits = torch.tensor([[[5.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, 4.0, 0.0]]])
    answer, table, columns = chosen(vitcam.detections(threshold=0.5), logits)
    assert columns.tolist() == [[0, 15]]
    assert [answer.describe(table[0], c, (32, 32)).label for c in (0, 15)] == [
        "class 0, query 0",
        "class 1, query 2",
    ]
    with pytest.raises(TargetError, match=r"\[2, 1\] objects"):
        chosen(vitcam.detections(threshold=0.5), torch.cat([logits, logits[:, [1, 1, 0]]]))


def test_a_box_is_in_pixels_of_what_the_model_saw():
    boxes = torch.tensor([[[0.5, 0.25, 0.2, 0.5]]])
    answer, table, columns = chosen(vitcam.detections(by="right"), torch.zeros(1, 1, 3), boxes)
    found = answer.describe(table[0], int(columns), (100, 200))
    assert found.box == pytest.approx((80, 0, 120, 50))
    assert found.value == pytest.approx(0.6)


def test_what_is_no_match():
    model, ids = models.clip(), models.text_inputs(3)
    refused("2 images and 3 texts", model, vitcam.matching(), inputs=ids)
    refused("needs logits_per_image", models.timm_backbone(), vitcam.matching())


def test_a_match_may_be_the_only_logit_of_a_pair():
    found = vitcam.matching().table(SimpleNamespace(logits=torch.tensor([[0.3], [2.0]])))
    assert found.flatten().tolist() == pytest.approx([0.3, 2.0])
    with pytest.raises(TargetError, match=r"or logits \(batch, 1\)"):
        vitcam.matching().table(SimpleNamespace(logits=torch.zeros(2, 2)))


def test_what_is_no_next_token():
    output = SimpleNamespace(logits=torch.tensor([[[0.0, 2.0], [5.0, 1.0]]]))
    best = vitcam.next_token(position=0)
    assert best.choose(best.table(output)).tolist() == [[1]]
    assert best.describe(output.logits[0, 0], 1, (4, 4)).label == "token 1 next"
    for answer, message in (
        (vitcam.next_token(position=2), "no place 2: the text has 2 tokens"),
        (vitcam.next_token(2), "no token 2: the vocabulary has 2"),
    ):
        with pytest.raises(TargetError, match=message):
            answer.choose(answer.table(output))
    with pytest.raises(TargetError, match="needs logits"):
        vitcam.next_token().table(SimpleNamespace(logits=torch.zeros(2, 3)))


def test_what_is_no_region():
    model = models.dense()
    with pytest.raises(TargetError, match="one of point=, box= and mask="):
        vitcam.region(1, point=(1, 1), box=(0, 0, 1, 1))
    refused("isn't in the image of 32×32", model, vitcam.region(1, point=(32, 0)))
    refused("isn't in the image", model, vitcam.region(1, box=(0, 0, 40, 3)))
    refused("there is no class 3", model, vitcam.region(3))
    refused("the region is empty", model, vitcam.region(1, mask=torch.zeros(32, 32)))
    refused("a mask is of the shape", model, vitcam.region(1, mask=torch.ones(32, 16)))
    refused("3 masks, and there are 2 images", model, vitcam.region(1, mask=torch.ones(3, 32, 32)))
    refused("needs maps of classes", models.timm_backbone(), vitcam.region(1))


def test_a_mask_is_the_mean_over_its_part_and_each_image_may_have_its_own():
    model, masks = models.dense(), torch.zeros(2, 64, 64)
    masks[0, :16, 16:32], masks[1, 32:, 48:] = 1, 0.5  # cells (0, 1), and (2, 3) and (3, 3)
    e = vitcam.explain(model, IMAGES, targets=vitcam.region(2, mask=masks), batch_size=1)
    with torch.no_grad():
        maps = model(IMAGES)[:, 2]
    expected = [float(maps[0, 0, 1]), float(maps[1, 2:, 3].mean())]
    assert [each[0].value for each in e.answered] == pytest.approx(expected, rel=1e-4)
    assert tuple(e.places(1)[0]) == (24, 16, 32, 32)
    assert e.targets.tolist() == [[2], [2]]
    best = vitcam.explain(model, IMAGES, targets=vitcam.region(mask=masks))
    with torch.no_grad():
        every = model(IMAGES)
    assert best.targets.flatten().tolist() == [
        int(every[0, :, 0, 1].argmax()),
        int(every[1, :, 2:, 3].mean(1).argmax()),
    ]


def test_masks_of_queries_make_a_segmentation():
    queries, masks = torch.randn(1, 2, 4), torch.randn(1, 2, 8, 8)
    about = About(torch.nn.Identity(), 1, (32, 32), lambda images: [])
    answer = vitcam.region(1, point=(8, 20)).prepared(about)
    output = SimpleNamespace(class_queries_logits=queries, masks_queries_logits=masks)
    expected = sum(queries[0, q].softmax(0)[1] * masks[0, q, 5, 2].sigmoid() for q in (0, 1))
    assert float(answer.table(output)[0, 0, 1]) == pytest.approx(float(expected), rel=1e-5)
