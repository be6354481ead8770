"""Makes docs/references.md: each method against code of others, or its formula written naively.

python tools/reference_table.py     # needs the packages that tests compare with: pip install 'vitcam[all,pytest]'

Models are small, with random weights. The naive formulas are those of the tests: whole matrices, explicit softmax,
one pass at a time; they share no code with the package.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

REPOSITORY = Path(__file__).parents[1]
TESTS = [REPOSITORY / "tests" / part for part in ("", "contract", "methods", "relevance", "recording")]
sys.path[:0] = map(str, TESTS)

import lrp_oracle  # noqa: E402
import lxt_reference  # noqa: E402
import relevance_models  # noqa: E402
import test_cams_equal_pip_grad_cam as pip_grad_cam  # noqa: E402
import test_golden  # noqa: E402
import test_gradient_rules as by_rules  # noqa: E402
import test_legrad  # noqa: E402
import test_passed_on as passed_on  # noqa: E402
import test_sampling_methods as sampling  # noqa: E402
import test_tam  # noqa: E402

import vitcam  # noqa: E402
from contract import oracle  # noqa: E402
from families import images_of, model_of  # noqa: E402
from vitcam.methods.attnlrp import input_relevance  # noqa: E402
from vitcam.methods.relevance import attnlrp_rules, trace  # noqa: E402

PAGE = REPOSITORY / "docs" / "references.md"
Pair = tuple[str, str, str, Tensor, Tensor]
"""Method, reference, model, our maps and theirs, (maps, values)."""
PAIR = "torchvision vit"
"""The family of which most naive formulas are computed."""
HEAD = """# Against references

Each method's maps against those of its authors' code, or of another package; where there is none that could be
installed, of the formula written out naively, on whole matrices and one pass at a time (in `tests/`, sharing no code
with the package). Models are small and have random weights. *Difference* is the largest of any value, as a share of
the largest value of the reference; *correlation* is the lowest of any map, rounded. Numbers are float32's unless a
model is said to be float64.

Made by `python tools/reference_table.py`. The tests hold each of them to bounds, on every family of models besides.

| method | reference | models | difference | correlation |
|---|---|---|--:|--:|
"""
TAIL = """
- `eigencam` and `eigengradcam` have the package's sign here, which is by chance there. Maps of pip `grad-cam` are
  those before it scales them to 0..1, with values below zero left out, as it leaves them out.
- `lrp` divides by numbers near zero: the authors' float32 is itself that far from float64.
- `rise`, `tis` and `shapley` draw samples. Tests repeat the draws by hand, and hold `shapley` to the exact values
  over all orders within its standard errors; they aren't in this table. `ablationcam` is held to pip
  `grad-cam`'s with zeros, as in its paper, by a test.
"""


def main() -> None:
    """Computes all of them and writes the page."""
    warnings.simplefilter("ignore")
    rows: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for method, reference, model, ours, theirs in pairs():
        found = (model, difference(ours, theirs), correlation(ours, theirs))
        print(f"{method}, {reference}, {model}: {found[1]:.1e}, {found[2]:.6f}", flush=True)
        rows.setdefault((method, reference), []).append(found)
    lines = [
        f"| `{method}` | {reference} | {', '.join(dict.fromkeys(model for model, _, _ in each))} "
        f"| {max(far for _, far, _ in each):.0e} | {min(like for _, _, like in each):.5f} |"
        for (method, reference), each in rows.items()
    ]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n" + TAIL)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest value of theirs."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def correlation(ours: Tensor, theirs: Tensor) -> float:
    """The lowest correlation of two maps that aren't constant."""
    both = [torch.stack([a.flatten(), b.flatten()]).double() for a, b in zip(ours, theirs, strict=True)]
    return min(float(torch.corrcoef(each)[0, 1]) for each in both if (each.std(dim=1) > 0).all())


def pairs() -> Iterator[Pair]:
    """All that is compared."""
    for part in (golden, grad_cam, torchcam, lxt, captum, whole_matrices, rules, chefer, passed, masked):
        yield from part()


def golden() -> Iterator[Pair]:
    """Maps that the authors' code gave."""
    for which in ("a", "b"):
        model, data = test_golden.golden(which)
        for method, key in (("agcam", "agcam_pred"), ("lrp", "lrp_pred"), ("rollout", "rollout")):
            if f"heatmaps/{key}" in data:
                ours = vitcam.explain(model, data["images"], method, targets=data["pred"]).heatmaps[:, 0]
                yield method, "AGCAM's authors' code", f"timm ViT {which}", ours, data[f"heatmaps/{key}"]


def grad_cam() -> Iterator[Pair]:
    """The package grad-cam, its maps not scaled."""
    from pytorch_grad_cam import base_cam

    scaled = base_cam.scale_cam_image
    base_cam.scale_cam_image = lambda cam, size=None: cam
    try:
        model, images, targets = model_of("timm vit").eval(), images_of("timm vit", 2), [4, 7]
        names = {**pip_grad_cam.NAMES, "finercam": "FinerCAM"}
        for name, theirs in names.items():
            asked = None if name == "finercam" else targets
            cam = getattr(pip_grad_cam.reference, theirs)(
                model, [model.blocks[-1].norm1], reshape_transform=pip_grad_cam.of_tokens(1, 14)
            )
            expected = pip_grad_cam.by_reference(cam, images, asked)
            ours = vitcam.explain(model, images, name, targets=asked).heatmaps[:, 0]
            if name in pip_grad_cam.SIGNLESS:
                signs = [
                    1 if torch.allclose(one.relu(), two, atol=0.1 * float(two.max())) else -1
                    for one, two in zip(ours, expected, strict=True)
                ]
                ours = ours * torch.tensor(signs)[:, None, None]
            yield name, "pip `grad-cam`", "timm ViT", ours.relu(), expected
    finally:
        base_cam.scale_cam_image = scaled


def torchcam() -> Iterator[Pair]:
    """LeGrad of the package torchcam, which takes the mean over layers."""
    from torchcam.methods import LeGrad

    for name in ("torchvision vit", "torchvision vit, 12 layers"):
        model, images = copy.deepcopy(model_of(name)).eval(), images_of(name, 2)
        layers = list(model.encoder.layers)
        with LeGrad(model, layers) as extractor:
            model(images)
            (expected,) = extractor([4, 2], normalized=False)
        ours = vitcam.explain(model, images, "legrad", targets=[4, 2]).heatmaps[:, 0]
        yield "legrad", "pip `torchcam`", name, ours, expected * len(layers)


def lxt() -> Iterator[Pair]:
    """The package lxt, in a process of its own: it patches classes for good."""
    from safetensors.torch import load_file

    script = Path(lxt_reference.__file__)
    for which, through_softmax in (("torchvision", False), ("hugging_face", True)):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            subprocess.run([sys.executable, script, f"{folder}/lxt", which], check=True, env=environment)
            expected = load_file(f"{folder}/lxt")["epsilon"]
        model = getattr(relevance_models, f"{which}_vit")().double()
        traced = trace(
            model,
            relevance_models.random_images().double(),
            attnlrp_rules(0.0, 0.0, through_softmax=through_softmax),
        )
        ours = input_relevance(traced, relevance_models.logits_of(traced.output)[:, 3])
        method = "attnlrp" if through_softmax else "attnlrp(through_softmax=False)"
        yield method, "pip `lxt`, of pixels", f"{which.replace('_', ' ')} ViT, float64", ours, expected


def captum() -> Iterator[Pair]:
    """The package captum, where a method of vitcam's own is the same thing."""
    from captum.attr import FeatureAblation, LayerGradientXActivation

    model, images = model_of("timm vit").eval(), images_of("timm vit", 2)
    for layer in (0, 2):
        of_layer = LayerGradientXActivation(model, model.blocks[layer])
        expected = of_layer.attribute(images, 4, attribute_to_layer_input=True).sum(-1)[:, 1:].detach()
        ours = vitcam.explain(model, images, "ixg", targets=4, layer=layer).heatmaps[:, 0].flatten(1)
        yield "ixg", "pip `captum`: LayerGradientXActivation", "timm ViT", ours, expected
    model, images = model_of(PAIR).eval(), images_of(PAIR, 2)
    mask = torch.kron(torch.arange(16).reshape(4, 4), torch.ones(16, 16, dtype=torch.long))
    expected = FeatureAblation(model).attribute(images, target=4, feature_mask=mask[None, None])[:, 0]
    ours = vitcam.explain(model, images, "occlusion", targets=4, size=1, stride=1).heatmaps[:, 0]
    yield "occlusion", "pip `captum`: FeatureAblation", PAIR, ours, expected[:, ::16, ::16]


def whole_matrices() -> Iterator[Pair]:
    """From attention matrices and their gradients."""
    for name in (PAIR, "hf vit", "timm dinov2 registers"):
        model, images = copy.deepcopy(model_of(name)).eval(), images_of(name, 2)
        maps, prefix = oracle.attention_maps(model, images), {"timm dinov2 registers": 5}.get(name, 1)
        start, patches = torch.eye(maps[0].shape[-1])[0], slice(prefix, None)

        def called(x: Tensor, model: Any = model) -> Tensor:
            output = model(x)
            return getattr(output, "logits", output)

        def score(output: Any) -> Tensor:
            return getattr(output, "logits", output)[:, 4]

        count = len(maps)
        expected = {
            "attention": maps[-1][:, 0, patches],
            "rollout": oracle.rollout(maps, start.expand(2, -1))[:, patches],
            "agcam": oracle.agcam(model, images, score, count, patches),
            "tempercam": oracle.tempercam(model, images, score, count, patches),
            "gae": oracle.gae(model, images, score, start, False)[:, patches],
            "gradsam": oracle.gradsam(model, images, score)[:, patches],
        }
        for method, states in (("tam", test_tam.tam_states), ("bt", test_tam.bt_states)):
            carried = states(called, images, start, 4, 0)
            whole = test_tam.times_integrated_gradient(carried, called, images, start, 4, 4)
            expected[f"{method}(steps=4)"] = whole[:, patches]
        if name in test_legrad.HEADS:
            blocks = [test_legrad.pattern_of_blocks(name, model).format(i) for i in range(count)]
            head = test_legrad.HEADS[name]
            expected["legrad(pooling='head')"] = oracle.legrad(
                model, images, blocks, range(count), lambda x, h=head, m=model: h(m, x)[:, 4], patches
            )
        for method, theirs in expected.items():
            ours = vitcam.explain(model, images, method, targets=4).heatmaps[:, 0].flatten(1)
            yield method.replace("(steps=4)", ""), "formula, naively", name, ours, theirs.detach()


def rules() -> Iterator[Pair]:
    """Gradients by rules, each written out."""
    model, images = by_rules.homemade(), by_rules.images_of().double()
    for which in ("libra", "cp-lrp"):
        expected = by_rules.naive(model, images, 3, which)
        for key, template in by_rules.METHODS.items():
            name = template.format(repr(which))
            ours = vitcam.explain(model, images, name, targets=3).heatmaps[:, 0].flatten(1).double()
            yield name, "rules written out", "homemade ViT, float64", ours, expected[key][:, 1:].detach()
    expected = by_rules.naive(model, images, 3, "plain")
    ours = vitcam.explain(model, images, "fullgrad", targets=3).heatmaps[:, 0].flatten(1).double()
    yield "fullgrad", "formula, naively", "homemade ViT, float64", ours, expected["fullgrad"][:, 1:].detach()


def chefer() -> Iterator[Pair]:
    """Transformer attribution by rules written out for one image."""
    model, images = relevance_models.timm_vit().double(), relevance_models.random_images().double()
    expected = torch.stack([lrp_oracle.transformer_attribution(model, image, 3) for image in images])
    ours = vitcam.explain(model, images, "lrp", targets=3).heatmaps[:, 0].flatten(1).double()
    yield (
        "lrp",
        "rules written out",
        "timm ViT, float64",
        ours,
        expected.reshape(len(images), -1)[:, -ours.shape[1] :],
    )


def passed() -> Iterator[Pair]:
    """What a layer passes on, by the parts of a model."""
    for name, make in passed_on.CASES.items():
        with torch.no_grad():
            case = make()
        called = {
            "torchvision": PAIR,
            "layer scale": "timm ViT with layer scale",
            "average": "timm ViT that averages",
        }[name]
        valued = torch.stack(
            [case.head(passed_on.valued(case, image))[case.prefix :, 5] for image in case.images]
        )
        eclip = [passed_on.eclipsed(case, image, 5, True).relu() for image in case.images]
        expected: dict[tuple[str, str], Callable[[], Tensor]] = {
            ("tokentm", "formula, naively"): lambda c=case: passed_on.tokentm_by_hand(c, 5, False),
            ("tokentm(skip=True)", "public re-implementation, written out"): lambda c=case: (
                passed_on.tokentm_by_hand(c, 5, True)
            ),
            ("bt(kind='tokens')", "authors' loop, written out"): lambda c=case: passed_on.bt_by_hand(
                c, 5, 0, 20
            ),
            ("grad-eclip", "authors' notebook, written out"): lambda e=eclip: torch.stack(e),
            ("maskclip", "formula, naively"): lambda v=valued: v,
        }
        for (method, reference), theirs in expected.items():
            ours = vitcam.explain(case.model, case.images, method, targets=5).heatmaps[:, 0].flatten(1)
            yield method, reference, called, ours, theirs().detach()


def masked() -> Iterator[Pair]:
    """One pass at a time."""
    model, images = model_of(PAIR).eval(), images_of(PAIR, 2)
    kernel, expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16, torch.zeros(2, 16)
    for i, image in enumerate(images):
        for patch in range(16):
            around = torch.zeros(6, 6)
            around[patch // 4 : patch // 4 + 3, patch % 4 : patch % 4 + 3] = kernel
            expected[i, patch] = sampling.by_patch_alone(model, image, around[1:-1, 1:-1].flatten())[4]
    ours = vitcam.explain(model, images, "reciprocam", targets=4).heatmaps[:, 0].flatten(1)
    yield "reciprocam", "formula, naively", PAIR, ours, expected
    for i, image in enumerate(images):
        channels = sampling.norm_of_last_block(model, image)
        scores = torch.stack([sampling.seen_through(model, image, channel)[4] for channel in channels])
        expected[i] = (scores.softmax(0) @ channels).relu()
    ours = vitcam.explain(model, images, "scorecam", targets=4).heatmaps[:, 0].flatten(1)
    yield "scorecam", "formula, naively", PAIR, ours, expected


if __name__ == "__main__":
    main()
