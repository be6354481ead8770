"""Tiny models of real packages, trained here, where the evidence is known: maps point at it, wherever it is."""

import pytest
import torch
import transformers
from torch.nn import functional as F

import vitcam
from input_files import SMALL
from input_models import Volumes
from vitcam.errors import ModelError
from vitcam.evaluation import perturbation_curves
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves

TRIED = 24
"""Inputs that are explained of each kind."""


def clips(count, seed):
    """A square that goes to the left or to the right, and another that stays, on noise; where the moving one is."""
    random = torch.Generator().manual_seed(seed)
    values = 0.3 * torch.randn(count, 4, 3, 32, 32, generator=random)
    places = torch.zeros(count, 4, 32, 32)
    labels = torch.randint(2, (count,), generator=random)
    for n in range(count):
        rows = torch.randperm(4, generator=random)[:2] * 8
        column = int(torch.randint(6, 19, (1,), generator=random))
        still = int(torch.randint(0, 25, (1,), generator=random))
        for time in range(4):
            at = column + (1 if labels[n] else -1) * 3 * (time - 1)
            values[n, time, :, rows[0] : rows[0] + 8, at : at + 8] += 2
            values[n, time, :, rows[1] : rows[1] + 8, still : still + 8] += 2
            places[n, time, rows[0] : rows[0] + 8, at : at + 8] = 1
    return values, places, labels


def sounds(count, seed):
    """A tone, or none, and a click, on noise: spectrograms (time, bands); where the tone is."""
    random = torch.Generator().manual_seed(seed)
    values = 0.5 * torch.randn(count, 64, 32, generator=random)
    places = torch.zeros(count, 32, 64)
    labels = torch.arange(count) % 2
    for n in range(count):
        start, click = torch.randint(0, 48, (2,), generator=random).tolist()
        band = int(torch.randint(0, 30, (1,), generator=random))
        values[n, click : click + 2] += 2
        if labels[n]:
            values[n, start : start + 16, band : band + 2] += 2
            places[n, band : band + 2, start : start + 16] = 1
    return values, places, labels


def volumes(count, seed):
    """A bright ball, or none, and a dark one, on noise; where the bright ball is."""
    random = torch.Generator().manual_seed(seed)
    values = 0.3 * torch.randn(count, 1, 16, 16, 16, generator=random)
    places = torch.zeros(count, 16, 16, 16)
    labels = torch.arange(count) % 2
    axes = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"))
    for n in range(count):
        bright, dark = (torch.randint(3, 13, (3, 1, 1, 1), generator=random) for _ in range(2))
        values[n, 0][(axes - dark).square().sum(0) < 9] = -2
        if labels[n]:
            ball = (axes - bright).square().sum(0) < 9
            values[n, 0][ball] = 2
            places[n][ball] = 1
    return values, places, labels


def videomae():
    config = transformers.VideoMAEConfig(
        **{**SMALL, "hidden_size": 32, "intermediate_size": 64},
        image_size=32,
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
        num_labels=2,
        initializer_range=0.1,
    )
    return transformers.VideoMAEForVideoClassification(config)


def ast():
    config = transformers.ASTConfig(
        **{**SMALL, "hidden_size": 32, "intermediate_size": 64},
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        max_length=64,
        num_mel_bins=32,
        num_labels=2,
        initializer_range=0.1,
    )
    return transformers.ASTForAudioClassification(config)


def vit():
    return Volumes((16, 16, 16), 4, 32, 64)


# Name → what makes inputs, the model, and how many steps it is trained.
CASES = {"clip": (clips, videomae, 120), "sound": (sounds, ast, 120), "volume": (volumes, vit, 80)}


def train(make, model, steps):
    torch.manual_seed(0)
    model = model()
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    values, _, labels = make(1024, seed=1)
    for step in range(steps):
        some = torch.randint(len(values), (32,), generator=torch.Generator().manual_seed(step))
        output = model(values[some])
        loss = F.cross_entropy(getattr(output, "logits", output), labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module", params=CASES)
def trained(request):
    make, model, steps = CASES[request.param]
    return train(make, model, steps), *make(3 * TRIED, seed=2)


# Method → how often its hottest cell must be one of the evidence, and how much more of its heat these cells must have
# than they have of the area.
LEAST = {"agcam": (0.4, 1.8), "attnlrp": (0.8, 4)}


def test_maps_point_at_the_evidence(trained):
    model, values, places, labels = trained
    with torch.no_grad():
        output = model(values)
    right = getattr(output, "logits", output).argmax(-1) == labels
    assert right.float().mean() > 0.9
    shown = right & (places.flatten(1).sum(1) > 0)
    values, places, labels = (each[shown][:TRIED] for each in (values, places, labels))
    assert len(values) == TRIED

    def measured(method):
        """How often the hottest cell is one that holds evidence, and the heat of these cells over their area."""
        maps = vitcam.explain(model, values, method, targets=labels).heatmaps[:, 0]
        evidence = (F.interpolate(places[:, None], maps.shape[1:], mode="area")[:, 0] > 0).flatten(1)
        heat = maps.clamp(min=0).flatten(1)
        hits = evidence.gather(1, maps.flatten(1).argmax(1, keepdim=True)).float().mean()
        return float(hits), float(((heat * evidence).sum(1) / heat.sum(1) / evidence.float().mean(1)).mean())

    for method, (hits, more) in LEAST.items():
        found = measured(method)
        assert found[0] >= hits, f"{method}: {found}"
        assert found[1] >= more, f"{method}: {found}"
    assert measured("random")[1] < 1.4, "what points nowhere must not pass"


def curves(trained, measure, method):
    """The mean area between the curves, over inputs that hold evidence."""
    model, values, places, labels = trained
    shown = (places.flatten(1).sum(1) > 0).nonzero().flatten()[:6]
    values, labels = values[shown], labels[shown]
    e = vitcam.explain(model, values, method, targets=labels)
    return measure(model, values, e.heatmaps[:, 0], labels).abpc.mean().item()


def test_what_is_removed_first_of_a_better_map_counts_more(trained):
    """By pixels along all axes; and by tokens, where some are no patch's."""

    def dropping(model, values, heatmaps, labels):
        found = vitcam.inspect(model, values)
        block = model.get_submodule(found.layout.blocks[0])
        return token_dropping_curves(model, block, found.grid, values, heatmaps, labels, steps=4)

    def removing(*given):
        return perturbation_curves(*given, steps=4)

    assert curves(trained, removing, "attnlrp") > curves(trained, removing, "random") + 0.1
    if type(trained[0]).__name__.startswith("VideoMAE"):
        with pytest.raises(ModelError, match="all its tokens are patches"):
            curves(trained, dropping, "attnlrp")
    else:
        assert curves(trained, dropping, "attnlrp") > curves(trained, dropping, "random") + 0.1


def test_removed_pixels_and_tokens_against_naive_versions(trained):
    """One point of each curve, pixel by pixel and token by token."""
    model, values, _places, labels = trained
    values, labels = values[:1], labels[:1]
    grid = vitcam.inspect(model, values).grid
    maps = torch.rand(1, *grid.shape, generator=torch.Generator().manual_seed(0))

    def probability(logits):
        return float(logits.softmax(-1)[0, labels[0]])

    found = perturbation_curves(model, values, maps, labels, steps=2)
    axes = {"VideoMAEForVideoClassification": (0, 1, 3, 4), "ASTForAudioClassification": (0, 2, 1)}
    in_space = values.permute(0, 2, 1, 3, 4) if values.dim() == 5 and type(model).__name__ in axes else values
    sizes = values.transpose(1, 2).shape[1:] if values.dim() == 3 else in_space.shape[2:]
    mode = "trilinear" if len(sizes) == 3 else "bilinear"
    pixels = F.interpolate(maps[None], sizes, mode=mode, align_corners=False)[0, 0]
    order = pixels.flatten().argsort(descending=True)
    removed = torch.zeros(len(order), dtype=torch.bool)
    removed[order[: len(order) // 2]] = True
    removed = removed.view(pixels.shape)
    changed = values.clone()
    if values.dim() == 3:
        changed[0][removed.T] = 0
    elif type(model).__name__ in axes:
        for channel in range(3):
            changed[0, :, channel][removed] = 0
    else:
        changed[0, 0][removed] = 0
    with torch.no_grad():
        output = model(changed)
    assert float(found.morf[0, 1]) == pytest.approx(probability(getattr(output, "logits", output)), abs=1e-4)

    if values.dim() == 3:
        base = model.audio_spectrogram_transformer
        dropped = token_dropping_curves(model, base.layers[0], grid, values, maps, labels, steps=2)
        kept = maps.flatten().argsort(descending=True)[grid.tokens // 2 :].sort().values + 2
        with torch.no_grad():
            tokens = base.embeddings(values)[:, [0, 1, *kept.tolist()]]
            for layer in base.layers:
                tokens = layer(tokens)
                tokens = tokens[0] if isinstance(tokens, tuple) else tokens
            tokens = base.layernorm(tokens)
            logits = model.classifier((tokens[:, 0] + tokens[:, 1]) / 2)
        assert float(dropped.morf[0, 1]) == pytest.approx(probability(logits), abs=1e-4)
