"""The examples of docstrings do what they say, and everything in the API reference has one.

An example finds the names of its module and those of ``docs/reference/index.md``. Small things stand in for what
a test can't have: a ViT-B/16 is narrow and untrained, and what an example opens lies in the folder that it runs in.
"""

from __future__ import annotations

import copy
import doctest
import importlib

import jaxtyping
import open_clip
import pytest
import timm
from doc_data import make_data
from doc_examples import examples, has_example, package, reference
from doc_pages import blocks_of

EXAMPLES = {example.name: example for example in examples()}
SMALL_CLIP = "ViT-S-32-alt"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def taken_for_granted():
    """The names of the reference's first page."""
    (block,) = blocks_of("docs/reference/index.md")
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        exec(block.text, names)
    return names


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    stand_in(monkeypatch)


def stand_in(monkeypatch):
    create = timm.create_model

    def narrow(name, pretrained=False, **options):
        small = {"embed_dim": 48, "num_heads": 12} if name == "vit_base_patch16_224" else {}
        return create(name, pretrained=False, **small, **options)

    def untrained(architecture, pretrained=None):
        return create_clip(SMALL_CLIP)

    create_clip = open_clip.create_model
    monkeypatch.setattr("timm.create_model", narrow)
    monkeypatch.setattr("open_clip.create_model", untrained)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as a reader runs them


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name, data, taken_for_granted, tmp_path, monkeypatch):
    for each in data.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    example = EXAMPLES[name]
    names = dict(taken_for_granted)
    if name.startswith("vitcam.export."):  # of which every block takes seconds
        names["photo_model"] = photo_model = copy.deepcopy(names["photo_model"])
        photo_model.module.blocks = photo_model.module.blocks[:2]
    example.globs = {**names, **vars(importlib.import_module(_module(name)))}
    said = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append, clear_globs=True)
    assert result.attempted
    assert not result.failed, "".join(said)


def _module(name):
    thing = package()[name.partition(".")[2]] if "." in name else package()
    return thing.path if thing.is_module else thing.module.path


def test_everything_in_the_reference_has_an_example():
    lacking = [name for name, thing in reference().items() if not has_example(thing)]
    assert not lacking


def test_no_example_is_left_out():
    assert not [name for name, e in EXAMPLES.items() if "doctest: +SKIP" in e.docstring]
