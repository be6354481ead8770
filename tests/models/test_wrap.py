"""``wrap``: a model in memory, with what it says of itself and what is given; never a guess."""

from __future__ import annotations

import open_clip
import pytest
import timm
import torch
import torchvision
import transformers
from test_load_hf import IMAGES, NAMES, SMALL, save_dual_encoder
from test_load_open_clip import TEXTS, architectures  # noqa: F401  # small architectures, for these tests too
from torch import nn

import vitcam
from small_models import HomemadeViT
from vitcam.errors import ModelError
from vitcam.models import load_model
from vitcam.photos import photo_path

OURS = vitcam.Preprocessing(size=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def hf_classifier(**options):
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, **options)).eval()


def hf_processor():
    return transformers.ViTImageProcessor(size={"height": 32, "width": 32})


def test_a_model_of_timm_brings_all_of_it():
    module = timm.create_model("vit_tiny_patch16_224")
    wrapped, loaded = vitcam.wrap(module), load_model("timm:vit_tiny_patch16_224", pretrained=False)
    assert wrapped.module is module
    assert wrapped.preprocessing == loaded.preprocessing
    assert wrapped.class_names == loaded.class_names
    assert wrapped.wordnet_ids == loaded.wordnet_ids
    assert wrapped.spec == "VisionTransformer"
    assert vitcam.wrap(module, name="mine").spec == "mine"
    e = vitcam.explain(wrapped, photo_path("cat"), targets="tabby")
    assert e.label() == "tabby, tabby cat"


def test_classes_of_ones_own_have_no_names_of_imagenet():
    module = timm.create_model("vit_tiny_patch16_224", num_classes=11821)  # ImageNet-12k's number
    assert vitcam.wrap(module).class_names is None
    assert vitcam.wrap(timm.create_model("vit_tiny_patch16_224", num_classes=2)).class_names is None
    two = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    named = vitcam.wrap(two, class_names=["cat", "cup"])
    assert named.class_names == ("cat", "cup")
    assert named.wordnet_ids is None


def test_a_head_put_on_by_hand_is_seen():
    module = timm.create_model("vit_tiny_patch16_224")
    module.head = nn.Linear(module.num_features, 10)
    message = r"VisionTransformer has 10 classes, and 1000 names were found for them \(its own class names\)"
    with pytest.raises(ModelError, match=message):
        vitcam.wrap(module)
    assert vitcam.wrap(module, class_names=list("abcdefghij")).class_index("j") == 9


def test_names_given_must_be_as_many_as_classes():
    module = HomemadeViT().eval()
    with pytest.raises(
        ModelError, match=r"HomemadeViT has \d+ classes, and 1 names were found .*\(class_names\)"
    ):
        vitcam.wrap(module, OURS, class_names=["cat"])


def test_another_size_than_the_configurations_is_seen():
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=9)
    message = (
        r"can't be run on an image of 224×224, as its preprocessing makes it .* preprocessing=vitcam\.Prep"
    )
    with pytest.raises(ModelError, match=message):
        vitcam.wrap(module)
    assert vitcam.wrap(module, OURS).preprocessing == OURS


def test_a_model_of_hugging_face_brings_its_names():
    module = hf_classifier(id2label=NAMES, problem_type="multi_label_classification")
    wrapped = vitcam.wrap(module, hf_processor())
    assert wrapped.class_names == ("cat", "dog", "cup, mug")
    assert wrapped.multi_label
    assert wrapped.preprocessing.size == (32, 32)
    assert not vitcam.wrap(module, hf_processor(), multi_label=False).multi_label
    assert vitcam.wrap(hf_classifier(num_labels=4), hf_processor()).class_names is None  # LABEL_0, …


def test_what_hugging_face_keeps_in_files_is_asked_for():
    module = hf_classifier(id2label=NAMES)
    with pytest.raises(
        ModelError, match=r"ForImageClassification wants .* pass preprocessing=transformers\.Auto"
    ):
        vitcam.wrap(module)
    module.config._name_or_path = "me/birds"
    with pytest.raises(ModelError, match=r"AutoImageProcessor\.from_pretrained\('me/birds'\)"):
        vitcam.wrap(module)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_dual_encoders_of_hugging_face(tmp_path, kind):
    module = save_dual_encoder(tmp_path, kind)
    loaded = load_model(f"hf:{tmp_path}").with_prompts(["a cat", "a dog"])
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    wrapped = vitcam.wrap(module, processor, tokenizer=tokenizer)
    assert wrapped.promptable
    asked = wrapped.with_prompts(["a cat", "a dog"])
    torch.testing.assert_close(asked.module(IMAGES), loaded.module(IMAGES))
    named = vitcam.wrap(module, processor, tokenizer=tokenizer, class_names=["a cat", "a dog"])
    assert named.class_names == ("a cat", "a dog")
    with pytest.raises(
        ModelError, match=r"doesn't have its tokenizer: pass tokenizer=transformers\.AutoTokenizer"
    ):
        vitcam.wrap(module, processor)
    with pytest.raises(ModelError, match=r"pass preprocessing=transformers\.AutoImageProcessor"):
        vitcam.wrap(module, tokenizer=tokenizer)


def test_a_model_of_torchvision_with_its_weights():
    module = torchvision.models.vit_b_32()
    weights = torchvision.models.ViT_B_32_Weights.IMAGENET1K_V1
    wrapped, loaded = (
        vitcam.wrap(module, weights=weights),
        load_model("torchvision:vit_b_32", pretrained=False),
    )
    assert wrapped.preprocessing == loaded.preprocessing
    assert wrapped.class_names == loaded.class_names
    assert wrapped.wordnet_ids == loaded.wordnet_ids
    with pytest.raises(ModelError, match=r"pass weights=, the member of torchvision's enum"):
        vitcam.wrap(module)
    with pytest.raises(
        ModelError, match=r"weights must be a member of one of torchvision's enums.*got 'DEFAULT'"
    ):
        vitcam.wrap(module, weights="DEFAULT")
    module.heads = nn.Linear(768, 5)
    with pytest.raises(ModelError, match="has 5 classes, and 1000 names"):
        vitcam.wrap(module, weights=weights)


def test_a_model_of_open_clip():
    module, _, transform = open_clip.create_model_and_transforms("tiny-clip")
    module.eval()
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    wrapped = vitcam.wrap(module, tokenizer=tokenizer)
    batch = wrapped.preprocess(photo_path("cat"))
    from vitcam.images import open_image

    torch.testing.assert_close(batch[0], transform(open_image(photo_path("cat"))))
    with torch.no_grad():
        expected, _ = module.get_logits(batch, tokenizer(TEXTS))
        torch.testing.assert_close(wrapped.with_prompts(TEXTS).module(batch), expected)
    with pytest.raises(ModelError, match=r"pass tokenizer=open_clip\.get_tokenizer\(ARCHITECTURE\)"):
        vitcam.wrap(module)


def test_anyones_model_must_be_told():
    module = HomemadeViT()
    with pytest.raises(
        ModelError, match=r"how HomemadeViT wants its photographs isn't known: pass preprocessing="
    ):
        vitcam.wrap(module)
    with pytest.raises(ModelError, match=r"weights= is for models of torchvision, and HomemadeViT is none"):
        vitcam.wrap(module, OURS, weights=torchvision.models.ViT_B_32_Weights.DEFAULT)
    with pytest.raises(ModelError, match=r"tokenizer= is for models that compare images with texts"):
        vitcam.wrap(module, OURS, tokenizer=len)
    assert vitcam.wrap(module, OURS).class_names is None


def test_a_class_derived_from_timms_is_timms():
    class Mine(timm.models.VisionTransformer):
        pass

    module = Mine(img_size=64, depth=1, embed_dim=48, num_heads=3)
    with pytest.raises(ModelError, match="how Mine wants its photographs isn't known"):
        vitcam.wrap(module)  # without a pretrained_cfg


def test_the_model_is_left_as_it_was():
    module = timm.create_model("vit_tiny_patch16_224", drop_rate=0.5).train()
    module.blocks[3].eval()
    before = [each.training for each in module.modules()]
    vitcam.wrap(module)
    assert [each.training for each in module.modules()] == before
    assert all(parameter.requires_grad for parameter in module.parameters())
    broken = timm.create_model("vit_tiny_patch16_224", img_size=64)
    broken.train()
    with pytest.raises(ModelError):
        vitcam.wrap(broken)
    assert all(each.training for each in broken.modules())


def test_a_model_of_more_than_images_is_not_run():
    class Two(nn.Module):
        def forward(self, images, texts):
            raise AssertionError

    assert vitcam.wrap(Two(), OURS, class_names=["a"]).class_names == ("a",)


def test_half_precision():
    module = timm.create_model("vit_tiny_patch16_224").bfloat16()
    assert vitcam.wrap(module).class_names[0] == "tench, Tinca tinca"
