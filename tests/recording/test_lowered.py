"""Weights that are converted once: the same numbers, and never those of a weight that has changed."""

import gc
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vitcam
from small_models import HomemadeViT
from vitcam.recording import onednn
from vitcam.recording.lowered import LoweredWeights
from vitcam.recording.onednn import fast_linear


def weights(largest=2**30):
    return LoweredWeights(torch.Tensor.bfloat16, largest)


@torch.no_grad()
def in_place(weight):
    weight[3, 2] += 1


def through_data(weight):
    weight.data.mul_(1.5)


def of_one_row(weight):
    weight.data[4] = 7


def of_one_column(weight):
    weight.data[:, 1] = 7


def another_tensor(weight):
    weight.data = torch.randn_like(weight)


def by_numpy(weight):
    weight.detach().numpy()[:] = 3


@torch.no_grad()
def by_an_optimizer(weight):
    weight.requires_grad_()
    with torch.enable_grad():
        (weight**2).sum().backward()
    torch.optim.SGD([weight], 0.1).step()


@pytest.mark.parametrize(
    "change", [in_place, through_data, of_one_row, of_one_column, another_tensor, by_numpy, by_an_optimizer]
)
@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_a_weight_that_has_changed_is_converted_anew(change, shape):
    kept, weight = weights(), nn.Parameter(torch.randn(shape), requires_grad=False)
    before = kept.of(weight)
    assert kept.of(weight) is before
    change(weight)
    assert kept.of(weight) is not before
    assert kept.of(weight).equal(weight.detach().bfloat16())


def test_a_copy_goes_with_its_weight():
    kept, weight = weights(), nn.Parameter(torch.randn(8, 8))
    kept.of(weight)
    assert len(kept) == 1
    del weight
    gc.collect()
    assert len(kept) == 0


def test_copies_take_no_more_than_they_may():
    kept, many = weights(largest=300), [nn.Parameter(torch.randn(8, 8)) for _ in range(5)]
    for weight in many:
        assert kept.of(weight).equal(weight.detach().bfloat16())
    assert len(kept) == 2  # of 128 bytes each
    assert kept.of(many[-1]) is kept.of(many[-1])
    assert kept.of(many[0]).equal(many[0].detach().bfloat16())


def test_what_can_not_be_watched_is_not_kept():
    kept = weights()
    with torch.inference_mode():
        kept.of(nn.Parameter(torch.randn(4, 4)))
    kept.of(nn.Parameter(torch.randn(4, 4).T))
    assert len(kept) == 0


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [(1,), (3, 1), (2, 5), (40, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_what_autocast_gives(packed, dtype, rows, bias, monkeypatch):
    monkeypatch.setattr(onednn, "_PACKING_AVAILABLE", packed and onednn._PACKING_AVAILABLE)
    layer = nn.Linear(24, 36, bias=bias)
    for input in (torch.randn(*rows, 24), torch.randn(24, *rows).movedim(0, -1)):
        with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
            expected = layer(input)
            with fast_linear():
                given = [layer(input), layer(input.to(dtype))]
        for each in given:
            assert each.dtype == dtype
            torch.testing.assert_close(each, expected, rtol=2e-2, atol=2e-2)


def test_a_weight_of_one_row_that_is_no_matrix():
    weight, input = nn.Parameter(torch.randn(8)), torch.randn(3, 8)
    with torch.no_grad(), fast_linear():
        assert F.linear(input, weight).shape == (3,)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = F.linear(input, weight)
        with fast_linear():
            assert F.linear(input, weight).equal(expected)


def test_gradients_and_other_precisions_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(onednn, "_lowered_linear", lambda *_: pytest.fail("it isn't for this"))
    layer, input = nn.Linear(8, 8), torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16), fast_linear():
        layer(input).sum().backward()
        layer.requires_grad_(False)
        layer(input.clone().requires_grad_()).sum().backward()
        with torch.no_grad():
            torch.func.vmap(layer)(torch.randn(2, 3, 8))
            F.linear(input, layer.weight[:4])
    with torch.no_grad(), fast_linear():
        assert layer(input).dtype == torch.float32


def test_a_model_that_is_trained_in_between():
    model, images = HomemadeViT().eval(), torch.randn(2, 3, 32, 40)

    def maps():
        return vitcam.explain(model, images, "agcam", precision="bf16").heatmaps

    before = maps()
    assert maps().equal(before)
    for parameter in model.parameters():
        parameter.data.mul_(1.2)  # as moving averages are written
    after = maps()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.clone())
    assert after.equal(maps())
    assert not torch.allclose(before, after)


def test_threads():
    kept, layers = weights(largest=2000), [nn.Parameter(torch.randn(16, 16)) for _ in range(8)]
    wrong = []

    def run():
        for _ in range(50):
            wrong.extend(not kept.of(each).equal(each.detach().bfloat16()) for each in layers)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 4 * 50 * 8
    assert not any(wrong)
