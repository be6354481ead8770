"""Small models, trained on pictures of a square and a ring: the map points at what the score is of."""

from __future__ import annotations

import answer_models as models
import pytest

import vitcam


def share_found(e, cells):
    return float((e.heatmaps[:, 0].flatten(1).argmax(dim=1) == cells).float().mean())


@pytest.mark.parametrize("method", ["agcam", "gae"])
@pytest.mark.parametrize("kind", [0, 1])
def test_similarity_points_at_the_shape_that_the_reference_shows(method, kind):
    backbone, directions = models.trained_backbone()
    pictures, cells = models.shapes(40, seed=7)
    reference, _ = models.shapes(1, seed=9 + kind, kinds=(kind,))
    for given in (reference, directions[kind]):
        e = vitcam.explain(backbone, pictures, method, vitcam.similar_to(given))
        assert share_found(e, cells[:, kind]) > 0.8
        assert share_found(e, cells[:, 1 - kind]) < 0.1


@pytest.mark.parametrize("method", ["gae", "rollout"])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_detection_points_at_the_object(method, kind):
    pictures, cells = models.shapes(40, seed=7)
    label = ["square", "ring"][kind]
    e = vitcam.explain(models.trained_yolos(), pictures, method, vitcam.detections(label))
    assert share_found(e, cells[:, kind]) > 0.8
