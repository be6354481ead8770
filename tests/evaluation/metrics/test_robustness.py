"""How far maps move when the image hardly does."""

from __future__ import annotations

import math

import naive_sanity as naive
import numpy as np
import pytest
import torch

from vitcam.evaluation.metrics.noise import normal_neighbours, uniform_neighbours
from vitcam.evaluation.metrics.relative_stability import (
    logarithms,
    relative_input_stability,
    relative_output_stability,
)
from vitcam.evaluation.metrics.robustness import local_lipschitz, max_sensitivity

METHODS, IMAGES, NEIGHBOURS = 2, 3, 4


@pytest.fixture
def moved():
    """Maps of two methods, and those of four neighbours of each image; images, logits, and which keep their class."""
    torch.manual_seed(0)
    maps = torch.randn(METHODS * IMAGES, 3, 4)
    near = maps + 0.1 * torch.randn(NEIGHBOURS, METHODS * IMAGES, 3, 4)
    images = torch.randn(IMAGES, 3, 6, 8)
    near_images = images + 0.2 * torch.rand(NEIGHBOURS, *images.shape)
    logits = torch.randn(IMAGES, 5)
    same = torch.tensor(
        [[True, True, False], [True, False, False], [True] * 2 + [False], [True, True, False]]
    )
    return maps, near, images, near_images, logits, logits + torch.rand(NEIGHBOURS, IMAGES, 5), same


def test_sensitivity_and_lipschitz_equal_naive_versions(moved):
    maps, near, images, near_images, *_ = moved
    distances = (near_images - images).flatten(2).norm(dim=2).repeat(1, METHODS)
    sensitivity, lipschitz = max_sensitivity(maps, near), local_lipschitz(maps, near, distances)
    for k, heatmap in enumerate(maps):
        before = naive.largest_one(heatmap)
        falls, quotients = [], []
        for n in range(NEIGHBOURS):
            after = naive.largest_one(near[n, k])
            distance = naive.norm([a - b for a, b in zip(after, before, strict=True)])
            falls.append(distance / naive.norm(before))
            image, other = images[k % IMAGES], near_images[n, k % IMAGES]
            quotients.append(distance / naive.norm((image - other).flatten().tolist()))
        assert sensitivity[k].item() == pytest.approx(max(falls), rel=1e-5)
        assert lipschitz[k].item() == pytest.approx(max(quotients), rel=1e-5)


def naive_stability(maps, near, k, same, distance):
    """The papers' quotient with elementwise division, for the neighbours of the same class."""
    before, found = naive.largest_one(maps[k]), []
    for n in range(NEIGHBOURS):
        if same[n, k % IMAGES]:
            after = naive.largest_one(near[n, k])
            above = naive.norm([(a - b) / a for a, b in zip(before, after, strict=True)])
            found.append(above / distance(n, k % IMAGES))
    return max(found) if found else None


def test_stabilities_equal_naive_versions(moved):
    maps, near, images, near_images, logits, near_logits, same = moved
    ris = relative_input_stability(maps, near, images, near_images, same)
    ros = relative_output_stability(maps, near, logits, near_logits, same)

    def of_images(n, i):
        pairs = zip(images[i].flatten().tolist(), near_images[n, i].flatten().tolist(), strict=True)
        return naive.norm([(a - b) / a for a, b in pairs])

    def of_logits(n, i):
        return naive.norm((logits[i] - near_logits[n, i]).tolist())

    for k in range(METHODS * IMAGES):
        for found, distance in ((ris, of_images), (ros, of_logits)):
            expected = naive_stability(maps, near, k, same, distance)
            assert found[k] == (None if expected is None else pytest.approx(expected, rel=1e-5))
    assert [value is None for value in ris] == [False, False, True] * METHODS


def test_the_arithmetic_is_that_of_quantus(moved):
    quantus = pytest.importorskip("quantus", reason="Quantus isn't installed")
    maps, near, images, near_images, logits, near_logits, _ = moved
    scaled = [each / each.abs().amax((-1, -2), keepdim=True) for each in (maps[:IMAGES], near[:, :IMAGES])]
    input_side = quantus.RelativeInputStability(disable_warnings=True)
    output_side = quantus.RelativeOutputStability(disable_warnings=True)
    every = torch.ones(NEIGHBOURS, IMAGES, dtype=torch.bool)
    own, others = scaled[0][:, None].double().numpy(), scaled[1][:, :, None].double().numpy()
    ris = [
        input_side.relative_input_stability_objective(
            images.double().numpy(), near_images[n].double().numpy(), own, others[n]
        )
        for n in range(NEIGHBOURS)
    ]
    ros = [
        output_side.relative_output_stability_objective(
            logits.double().numpy(), near_logits[n].double().numpy(), own, others[n]
        )
        for n in range(NEIGHBOURS)
    ]
    given = (maps[:IMAGES], near[:, :IMAGES])
    found = relative_input_stability(*given, images, near_images, every)
    assert found == pytest.approx(list(np.max(ris, axis=0)), rel=1e-5)
    found = relative_output_stability(*given, logits, near_logits, every)
    assert found == pytest.approx(list(np.max(ros, axis=0)), rel=1e-5)

    from quantus.functions import norm_func, similarity_func

    flat, near_flat = (each.double().flatten(-2).numpy() for each in scaled)
    x, near_x = (each.double().flatten(-3).numpy() for each in (images, near_images))
    constants = [
        similarity_func.lipschitz_constant(
            flat[i],
            near_flat[n, i],
            c=x[i],
            d=near_x[n, i],
            norm_numerator=similarity_func.distance_euclidean,
            norm_denominator=similarity_func.distance_euclidean,
        )
        for n in range(NEIGHBOURS)
        for i in range(IMAGES)
    ]
    distances = (near_images - images).double().flatten(2).norm(dim=2)
    theirs = torch.tensor(constants).view(NEIGHBOURS, IMAGES).amax(0).tolist()
    assert local_lipschitz(*given, distances).tolist() == pytest.approx(theirs, rel=1e-5)
    moves = [
        norm_func.fro_norm(near_flat[n, 0] - flat[0]) / norm_func.fro_norm(flat[0]) for n in range(NEIGHBOURS)
    ]
    assert max_sensitivity(*given)[0].item() == pytest.approx(max(moves), rel=1e-5)


def test_maps_and_images_that_are_zero_somewhere(moved):
    maps, _, images, near_images, logits, near_logits, same = moved
    zeros, still = torch.zeros_like(maps), maps.expand(NEIGHBOURS, -1, -1, -1)
    assert max_sensitivity(zeros, zeros.expand(2, -1, -1, -1)).tolist() == [0] * 6
    images = images.clone()
    images[0, 0, 0, 0] = 0
    ris = relative_input_stability(maps, still, images, near_images, same)
    assert ris == [0, 0, None] * METHODS
    assert logarithms(ris)[0] == pytest.approx(math.log(1e-6))
    unmoved = relative_output_stability(maps, still + 0.1, logits, logits.expand_as(near_logits), same)
    assert all(value is None or math.isfinite(value) for value in unmoved)


def test_noise_belongs_to_its_image():
    images = torch.rand(3, 3, 8, 8)
    for draw, size in ((uniform_neighbours, 0.2), (normal_neighbours, 0.1)):
        together = draw(images, 4, size, seed=1)
        alone = torch.cat([draw(images[i : i + 1], 4, size, seed=1) for i in range(3)], dim=1)
        assert together.equal(alone)
        assert not together.equal(draw(images, 4, size, seed=2))
        noise = (together - images).flatten(2)
        assert torch.corrcoef(noise.flatten(0, 1)).triu(1).abs().max() < 0.5  # no two draws are alike
    assert (uniform_neighbours(images, 4, 0.2, seed=1) - images).abs().max() <= 0.2 + 1e-6
    noise = normal_neighbours(images * 10, 64, 0.1, seed=1) - images * 10
    spread = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    assert noise.flatten(2).std((0, 2)).tolist() == pytest.approx(spread.tolist(), rel=0.05)
