"""Specifications, the list of sources, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vitcam.answers.kinds import ANSWERS
from vitcam.errors import ModelError
from vitcam.inputs import KINDS
from vitcam.models import (
    SOURCES,
    LoadedModel,
    ModelSource,
    Preprocessing,
    Spec,
    describe_models,
    find_models,
    load_model,
    parse_spec,
)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("timm:vit_tiny_patch16_224", Spec("timm", "vit_tiny_patch16_224")),
        (" timm:vit_tiny_patch16_224.augreg ", Spec("timm", "vit_tiny_patch16_224.augreg")),
        ("timm:vit_tiny@/a b/c@d.pth", Spec("timm", "vit_tiny", "/a b/c@d.pth")),
        ("torchvision:vit_b_16@w.pth", Spec("torchvision", "vit_b_16", "w.pth")),
        ("hf:google/vit-base-patch16-224", Spec("hf", "google/vit-base-patch16-224")),
        ("hf:/models/me@home", Spec("hf", "/models/me@home")),
        ("open_clip:ViT-B-32/laion2b", Spec("open_clip", "ViT-B-32/laion2b")),
        ("embedded:photo", Spec("embedded", "photo")),
    ],
)
def test_specs_are_taken_apart_and_written_back(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec
    assert str(spec) == text.strip()


def test_a_tag_is_split_off_a_name() -> None:
    assert parse_spec("open_clip:ViT-B-32/laion2b").split_name() == ("ViT-B-32", "laion2b")
    assert parse_spec("torchvision:vit_b_16").split_name() == ("vit_b_16", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vit_tiny_patch16_224", "'vit_tiny_patch16_224': it doesn't say where the model is from"),
        ("tim:vit_tiny_patch16_224", "the scheme 'tim' is unknown"),
        ("C:\\model.pth", "the scheme 'C' is unknown"),
        ("timm:", "it is incomplete. Expected timm:NAME or timm:NAME@FILE"),
        ("timm:vit@", "it is incomplete"),
        ("hf:", "it is incomplete. Expected hf:ID or hf:/FOLDER"),
    ],
)
def test_a_spec_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message.replace("\\", "\\\\")):
        load_model(text)


def test_the_refusal_lists_every_scheme() -> None:
    with pytest.raises(ModelError) as caught:
        parse_spec("nonsense")
    for pattern in ("embedded:photo", "timm:NAME@FILE", "torchvision:NAME", "hf:ID", "open_clip:ARCH/TAG"):
        assert f"\n  {pattern}" in str(caught.value)


def test_sources_are_described() -> None:
    sources = describe_models()
    assert all(parse_spec(source.example).scheme == source.scheme for source in sources)
    assert all(source.installed for source in sources)
    assert all(source.answers and set(source.answers) <= ANSWERS.keys() for source in sources)
    assert all(source.inputs and set(source.inputs) <= KINDS.keys() for source in sources)
    nowhere = ModelSource("x", ("x:NAME",), "nothing", "no_such_library", "some-extra", "x:y")
    assert not nowhere.installed
    assert nowhere.remedy == "pip install 'vitcam[some-extra]'"


@pytest.mark.parametrize(
    ("spec", "library", "remedy"),
    [
        ("hf:google/vit-base-patch16-224", "transformers", r"pip install 'vitcam\[hf\]'"),
        ("open_clip:ViT-B-32/openai", "open_clip", r"pip install 'vitcam\[open-clip\]'"),
        ("timm:vit_tiny_patch16_224", "timm", "pip install timm"),
    ],
)
def test_a_missing_library_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, spec: str, library: str, remedy: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ModelError, match=f"Can't load {spec}: {library} isn't installed. Install it: {remedy}"
    ):
        load_model(spec)


def test_num_classes_is_for_random_weights_only() -> None:
    for spec in ("timm:vit_tiny_patch16_224", "hf:google/vit-base-patch16-224"):
        with pytest.raises(ModelError, match="num_classes=3: a head of another size would be random"):
            load_model(spec, num_classes=3)
    for spec in ("embedded:photo", "open_clip:ViT-B-32"):
        with pytest.raises(ModelError, match="num_classes=3"):
            load_model(spec, num_classes=3, pretrained=False)


def test_describing_and_parsing_import_nothing_heavy() -> None:
    code = (
        "import sys; from vitcam.models import describe_models, parse_spec; describe_models()[3].installed;"
        "parse_spec('timm:x'); heavy = {'torch', 'numpy', 'PIL', 'timm', 'transformers'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_the_package_lacks() -> None:
    import vitcam.models

    with pytest.raises(AttributeError, match="nothing"):
        _ = vitcam.models.nothing


class Tiny(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :2]


HOW = Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of models in the current folder; the registry forgets it afterwards."""
    (tmp_path / "my_zoo.py").write_text(
        "import timm, torch, vitcam\n"
        "HOW = vitcam.Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)\n"
        "def module(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))\n"
        "def wrapped(): return vitcam.wrap(module(), HOW, class_names=('cat', 'dog'))\n"
        "def named(name): return vitcam.wrap(module(), HOW, class_names=(name, 'dog'))\n"
        "def untrained(pretrained=True): return vitcam.wrap(module(), HOW, class_names=(str(pretrained), 'dog'))\n"
        "def known(): return timm.create_model('test_vit', num_classes=7)\n"
        "def failing(): raise KeyError('weights')\n"
        "def nothing(): return 3\n"
        "THERE = wrapped()\n"
        "NUMBER = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(SOURCES)
    yield
    for name in [name for name in SOURCES if name not in before]:
        del SOURCES[name]
    sys.modules.pop("my_zoo", None)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("my_zoo:wrapped", ("cat", "dog")),
        ("my_zoo:THERE", ("cat", "dog")),
        ("my_zoo:named:tabby", ("tabby", "dog")),
        ("my_zoo:untrained", ("True", "dog")),
        ("my_zoo:known", None),
    ],
)
@pytest.mark.usefixtures("own")
def test_a_function_of_ones_own_is_a_source(spec: str, names: tuple[str, ...] | None) -> None:
    model = load_model(spec)
    assert model.spec == spec
    assert model.class_names == names
    assert not model.module.training


@pytest.mark.usefixtures("own")
def test_random_weights_are_passed_on_or_refused() -> None:
    assert load_model("my_zoo:untrained", pretrained=False).class_names == ("False", "dog")
    with pytest.raises(ModelError, match="takes no argument `pretrained`"):
        load_model("my_zoo:wrapped", pretrained=False)
    with pytest.raises(ModelError, match="num_classes=3"):
        load_model("my_zoo:untrained", pretrained=False, num_classes=3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_zoo:module", "how Sequential wants its photographs isn't known.*Let it return vitcam.wrap"),
        ("my_zoo:failing", "Can't load my_zoo:failing: KeyError: 'weights'"),
        ("my_zoo:nothing", "it gives a int; expected a torch.nn.Module or a LoadedModel"),
        ("my_zoo:NUMBER", "is a int: expected a vitcam.models.ModelSource"),
        ("my_zoo:missing", "the module my_zoo has no missing"),
        ("my_zoo:named", "its function takes a name. Write my_zoo:named:NAME"),
        ("my_zoo:wrapped:large", "its function takes no name. Write my_zoo:wrapped"),
        ("no_zoo:wrapped", "the scheme 'no_zoo' is unknown"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_is_no_source_is_named(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(spec)


def test_a_source_is_declared() -> None:
    source = ModelSource(
        "zoo",
        ("zoo:NAME@FILE",),
        "toys",
        load=lambda spec, **_: LoadedModel(Tiny(), HOW, class_names=(spec.name, str(spec.file))),
        names=lambda: ["big bear", "small bear"],
    )
    SOURCES["zoo"] = source
    try:
        assert load_model("zoo:bear@weights").class_names == ("bear", "weights")
        assert find_models("BEAR small") == (["zoo:small bear"], [])
        assert source in describe_models()
        with pytest.raises(ModelError, match=r"it is incomplete\. Expected zoo:NAME@FILE"):
            load_model("zoo:")
    finally:
        del SOURCES["zoo"]
    with pytest.raises(ModelError, match="doesn't say how: it has no `load`"):
        ModelSource("zoo").load(Spec("zoo", "x"), pretrained=True, num_classes=None)
