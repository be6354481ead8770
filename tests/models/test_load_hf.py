"""Hugging Face models from folders: classifiers, CLIP, SigLIP, and folders that are none of these."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import tokenizers
import torch
import transformers
from PIL import Image

from vitcam.errors import ModelError
from vitcam.models import load_model
from vitcam.models.imagenet import imagenet_classes

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
WORDS = ["<pad>", "<unk>", "<eos>", "a", "photo", "of", "cat", "dog", "the"]
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NAMES = {0: "cat", 1: "dog", 2: "cup, mug"}


def save_classifier(folder: Path, **options: Any) -> Any:
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, **options)).eval()
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model


def save_dual_encoder(folder: Path, kind: str) -> Any:
    vision = SMALL
    text = {**{key: SMALL[key] for key in list(SMALL)[:4]}, "vocab_size": len(WORDS)}
    text |= {"max_position_embeddings": 7, "eos_token_id": 2, "bos_token_id": 3, "pad_token_id": 0}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        model = transformers.CLIPModel(config).eval()
        processor = transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        )
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config).eval()
        with torch.no_grad():
            model.logit_bias.fill_(-2.5)
            model.logit_scale.fill_(1.5)
        processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    ).save_pretrained(folder)
    return model


def test_a_classifier(tmp_path: Path) -> None:
    reference = save_classifier(tmp_path, id2label=NAMES)
    model = load_model(f"hf:{tmp_path}")
    assert type(model.module) is transformers.ViTForImageClassification
    assert not model.module.training
    assert model.class_names == ("cat", "dog", "cup, mug")
    assert model.wordnet_ids is None
    assert model.class_index("mug") == 2
    assert not model.promptable
    assert not model.multi_label
    torch.testing.assert_close(model.module(IMAGES).logits, reference(IMAGES).logits, rtol=0, atol=0)


def test_a_classifier_of_several_labels(tmp_path: Path) -> None:
    save_classifier(tmp_path, problem_type="multi_label_classification")
    assert load_model(f"hf:{tmp_path}").multi_label


def test_half_precision_weights_are_loaded_as_fp32(tmp_path: Path) -> None:
    save_classifier(tmp_path).half().save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}")
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}


def test_placeholder_names_are_no_names(tmp_path: Path) -> None:
    save_classifier(tmp_path, num_labels=4)
    model = load_model(f"hf:{tmp_path}")
    assert model.class_names is None
    assert model.module(IMAGES).logits.shape == (2, 4)


def test_imagenets_names_bring_its_wordnet_ids(tmp_path: Path) -> None:
    names, ids = imagenet_classes(1000) or ((), ())
    save_classifier(tmp_path, id2label=dict(enumerate(names)))
    assert load_model(f"hf:{tmp_path}").wordnet_ids == ids


def test_random_weights_need_only_the_configuration(tmp_path: Path) -> None:
    save_classifier(tmp_path, id2label=NAMES)
    (tmp_path / "model.safetensors").unlink()
    assert load_model(f"hf:{tmp_path}", pretrained=False).class_names == tuple(NAMES.values())
    larger = load_model(f"hf:{tmp_path}", pretrained=False, num_classes=5)
    assert larger.module(IMAGES).logits.shape == (2, 5)
    assert larger.class_names is None


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_dual_encoder_is_asked_about_texts(tmp_path: Path, kind: str) -> None:
    reference = save_dual_encoder(tmp_path, kind)
    model = load_model(f"hf:{tmp_path}")
    assert model.promptable
    with pytest.raises(ModelError, match="has no classes of its own"):
        model.module(IMAGES)
    texts = ["a photo of a cat", "the dog", "a cat of the dog of the cat of the dog"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    padding = "max_length" if kind == "siglip" else True
    tokens = tokenizer(texts, padding=padding, max_length=7, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = reference(**tokens, pixel_values=IMAGES).logits_per_image
        asked = model.with_prompts(texts)
        torch.testing.assert_close(asked.module(IMAGES), expected)
    assert asked.class_index("the dog") == 1
    assert not any("text_model" in name for name, _ in asked.module.named_parameters())


def test_a_dual_encoder_with_random_weights(tmp_path: Path) -> None:
    save_dual_encoder(tmp_path, "clip")
    (tmp_path / "model.safetensors").unlink()
    model = load_model(f"hf:{tmp_path}", pretrained=False).with_prompts(["a cat", "a dog"])
    image = Image.effect_noise((50, 40), 50)
    assert model.module(model.preprocess(image)).shape == (1, 2)
    with pytest.raises(ModelError, match="num_classes=3: its classes are texts of yours"):
        load_model(f"hf:{tmp_path}", pretrained=False, num_classes=3)


def refused(spec: str, message: str, **options: Any) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(spec, **options)
    assert str(caught.value).startswith(f"Can't load {spec}: ")


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    refused(f"hf:{tmp_path}/gone", f"there is no folder {tmp_path}/gone")
    refused("hf:./gone", "there is no folder gone")
    refused(f"hf:{tmp_path}", r"the folder has no config\.json; save_pretrained writes one")
    (tmp_path / "config.json").write_text("{")
    refused(f"hf:{tmp_path}", "config.json")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    refused(f"hf:{tmp_path}", "no_such_model")


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    refused(
        f"hf:{tmp_path}",
        "transformers has no image classifier for a 'bert' model. Expected an image classifier",
    )


def test_a_model_without_its_image_processor_is_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    refused(
        f"hf:{tmp_path}",
        r"the folder has no image processor.*AutoImageProcessor\.from_pretrained\(ID\)\.save",
    )


def test_a_backbone_is_not_given_a_random_head(tmp_path: Path) -> None:
    save_classifier(tmp_path)
    transformers.ViTModel(transformers.ViTConfig(**SMALL), add_pooling_layer=False).save_pretrained(tmp_path)
    refused(f"hf:{tmp_path}", r"saved from ViTModel, lack pooler\.dense\.bias, pooler\.dense\.weight, or")


def test_half_a_dual_encoder_is_refused(tmp_path: Path) -> None:
    model = save_dual_encoder(tmp_path, "clip")
    weights = {name: weight for name, weight in model.state_dict().items() if not name.startswith("text_")}
    model.save_pretrained(tmp_path, state_dict=weights)
    refused(f"hf:{tmp_path}", r"saved from CLIPModel, lack text_.* and \d+ more, or .* a whole CLIP")


def test_weights_that_are_damaged_or_do_not_fit(tmp_path: Path) -> None:
    save_classifier(tmp_path, num_labels=4)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1000])
    refused(f"hf:{tmp_path}", "(?i)incomplete|offset|header|metadata")  # safetensors' words
    weights.write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    refused(f"hf:{tmp_path}", r"saved from ViTForImageClassification, lack .* or have them in another size")


def test_a_models_own_code_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}})
    )
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused(f"hf:{tmp_path}", "it comes with code of its own, which vitcam never runs")
    assert not (tmp_path / "ran").exists()


def test_code_in_a_folder_of_timm_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    timm.models.save_for_hf(timm.create_model("test_vit"), tmp_path)
    assert [path.name for path in tmp_path.glob("*model*")] == ["pytorch_model.bin"]
    torch.save({"head.weight": Evil()}, tmp_path / "pytorch_model.bin")
    refused(f"hf:{tmp_path}", "weights_only")
    assert not (tmp_path / "ran").exists()


def test_a_model_of_timm_in_a_folder(tmp_path: Path) -> None:
    reference = timm.create_model("test_vit", num_classes=3).eval()
    timm.models.save_for_hf(reference, tmp_path, model_config={"label_names": ["cat", "dog", "cup"]})
    model = load_model(f"hf:{tmp_path}")
    image = Image.effect_noise((300, 200), 50).convert("RGB")
    config = timm.data.resolve_model_data_config(reference)
    expected = timm.data.create_transform(**config)(image)[None]
    torch.testing.assert_close(model.preprocess(image), expected)
    torch.testing.assert_close(model.module(expected), reference(expected))
    assert type(model.module) is type(reference)
    assert model.class_names == ("cat", "dog", "cup")
