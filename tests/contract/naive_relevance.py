"""Chefer's relevance between sequences written out, from a model's own attentions and autograd's gradients."""

from __future__ import annotations

import torch


def positive(maps, gradient):
    """(4, 5) of the paper: mean_h (∇A ⊙ A)⁺, of one image: (heads, queries, keys)."""
    return (gradient * maps).clamp(min=0).double().mean(dim=0)


def normalised(relevance):
    """(8, 9): R − I with rows that sum to 1, or are zero, and I again."""
    identity = torch.eye(len(relevance), dtype=torch.double)
    rest = relevance - identity
    for row in range(len(rest)):
        total = rest[row].sum()
        if total > 0:
            rest[row] = rest[row] / total
    return rest + identity


def encoder_decoder(encoder, decoder, crosses):
    """R^qq and R^qi of an encoder–decoder, and R^ii; from the maps Ā of one image, layer by layer."""
    image, queries = encoder[0].shape[0], decoder[0].shape[0]
    r_ii, r_qq = (torch.eye(count, dtype=torch.double) for count in (image, queries))
    r_qi = torch.zeros(queries, image, dtype=torch.double)
    for bar in encoder:
        r_ii = r_ii + bar @ r_ii
    for bar, cross in zip(decoder, crosses, strict=True):
        r_qq, r_qi = r_qq + bar @ r_qq, r_qi + bar @ r_qi
        r_qi = r_qi + normalised(r_qq).T @ cross @ normalised(r_ii)
    return r_ii, r_qq, r_qi


def with_gradients(model, score, **given):
    """Per name, the maps of attention that a model returns, and their gradients: (layers, heads, queries, keys).

    Of a single image. ``score`` goes from the output to one number.
    """
    with torch.enable_grad():
        output = model(**given, output_attentions=True)
        names = [name for name in output if name.endswith("attentions") and output[name] is not None]
        flat = [(name, maps) for name in names for maps in output[name]]
        gradients = torch.autograd.grad(score(output), [maps for _, maps in flat], materialize_grads=True)
    bars = {name: [] for name in names}
    for (name, maps), gradient in zip(flat, gradients, strict=True):
        bars[name].append(positive(maps.detach()[0], gradient[0]))
    return bars


def bars_in_order(model, score, **given):
    """The maps Ā of one image, of every softmax of four axes that a model computes, in their order."""
    maps, softmax = [], torch.nn.functional.softmax

    def kept(*args, **options):
        result = softmax(*args, **options)
        if result.dim() == 4:
            maps.append(result)
        return result

    torch.nn.functional.softmax = kept
    try:
        with torch.enable_grad():
            total = score(model(**given))
    finally:
        torch.nn.functional.softmax = softmax
    gradients = torch.autograd.grad(total, maps, materialize_grads=True)
    return [positive(each.detach()[0], gradient[0]) for each, gradient in zip(maps, gradients, strict=True)]


def self_attention(bars):
    """R of one sequence."""
    relevance = torch.eye(len(bars[0]), dtype=torch.double)
    for bar in bars:
        relevance = relevance + bar @ relevance
    return relevance
