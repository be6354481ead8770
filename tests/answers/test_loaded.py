"""Models of Hugging Face whose answers aren't classes, loaded from folders."""

from __future__ import annotations

import answer_models as models
import joint_models as joint
import pytest
import transformers

import vitcam
from vitcam.errors import ModelError
from vitcam.photos import photo_path


@pytest.mark.parametrize(
    ("build", "targets", "label"),
    [
        (models.dinov2, vitcam.similar_to(photo_path("cup")), "similarity"),
        (models.yolos, vitcam.detections("ring"), "ring, query"),
        (models.dpt, vitcam.region(1, point=(3, 5)), "class 1"),
    ],
)
def test_as_it_was_saved(tmp_path, build, targets, label):
    model = build()
    model.save_pretrained(tmp_path)
    size = {"height": models.SIDE, "width": models.SIDE}
    transformers.ViTImageProcessor(size=size).save_pretrained(tmp_path)
    loaded = vitcam.load_model(f"hf:{tmp_path}")
    assert type(loaded.module) is type(model)
    both = [photo_path("cat"), photo_path("cup")]
    e = vitcam.explain(loaded, both, "gae", targets)
    assert e.label(1).startswith(label)
    expected = vitcam.explain(model, loaded.preprocess(both), "gae", prepared(targets, loaded))
    assert abs(e.heatmaps - expected.heatmaps).max() <= 1e-5 * expected.heatmaps.max()
    with pytest.raises(ModelError, match=r"vitcam\.similar_to"):
        vitcam.explain(loaded, both)
    with pytest.raises(ModelError, match="which is no image classifier"):
        vitcam.load_model(f"hf:{tmp_path}", num_classes=3, pretrained=False)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "cup"]


@pytest.mark.parametrize("build", [joint.blip_matching, joint.blip_captioning])
def test_a_model_that_reads_comes_with_its_tokenizer(tmp_path, build):
    model = build()
    model.save_pretrained(tmp_path)
    size = {"height": models.SIDE, "width": models.SIDE}
    transformers.BlipImageProcessor(size=size).save_pretrained(tmp_path)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path)
    loaded = vitcam.load_model(f"hf:{tmp_path}")
    assert type(loaded.module) is type(model)
    text = dict(loaded.tokenizer(["a cat", "a cup"], return_tensors="pt", return_token_type_ids=False))
    targets = vitcam.matching() if build is joint.blip_matching else vitcam.next_token(6, position=1)
    e = vitcam.explain(loaded, [photo_path("cat"), photo_path("cup")], "gae", targets, inputs=text)
    assert [each.token for each in e.text[1][0]] == ["[CLS]", "a", "cup", "[SEP]"]
    assert e.heatmaps.shape == (2, 1, 4, 4)


def prepared(targets, loaded):
    """A bare module is given its reference as a tensor."""
    given = getattr(targets, "reference", None)
    return targets if given is None else vitcam.similar_to(loaded.preprocess(given))
