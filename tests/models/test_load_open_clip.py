"""open_clip's dual encoders: the image tower as a classifier of texts."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from vitcam.errors import ModelError
from vitcam.models import load_model

TOWER = {"layers": 2, "width": 32}
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {**TOWER, "image_size": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {**TOWER, "heads": 2, "context_length": 77, "vocab_size": 49408},
}
TEXTS = ["a photo of a cat", "a dog"]


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Small relatives of the real ones: CLIP, and SigLIP with its bias."""
    folder = tmp_path_factory.mktemp("configs")
    sigmoid = {**CLIP, "custom_text": True, "init_logit_bias": -5, "init_logit_scale": 1.0}
    needs_hub = {**CLIP, "text_cfg": {**CLIP["text_cfg"], "hf_tokenizer_name": "nobody/nothing"}}
    for name, config in {"tiny-clip": CLIP, "tiny-sigmoid": sigmoid, "tiny-hub": needs_hub}.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-sigmoid"])
def test_a_checkpoint_gives_open_clips_own_logits(tmp_path: Path, name: str) -> None:
    reference, _, transform = open_clip.create_model_and_transforms(name)
    reference.eval()
    path = tmp_path / "weights.pt"
    torch.save({"epoch": 1, "state_dict": reference.state_dict()}, path)
    model = load_model(f"open_clip:{name}@{path}")
    assert model.promptable
    with pytest.raises(ModelError, match=r"model\.with_prompts"):
        model.module(torch.zeros(1, 3, 32, 32))
    image = Image.effect_noise((70, 50), 60).convert("RGB")
    batch = model.preprocess(image)
    torch.testing.assert_close(batch[0], transform(image))
    with torch.no_grad():
        expected, _ = reference.get_logits(batch, open_clip.get_tokenizer(name)(TEXTS))
        asked = model.with_prompts(TEXTS)
        torch.testing.assert_close(asked.module(batch), expected)
    assert asked.class_names == tuple(TEXTS)
    assert not asked.module.training


def test_random_weights() -> None:
    model = load_model("open_clip:tiny-clip", pretrained=False).with_prompts(TEXTS)
    assert model.module(torch.zeros(3, 3, 32, 32)).shape == (3, 2)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model that describes itself, as on the hub."""
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip")
    normalised = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    described = {"model_cfg": CLIP, "preprocess_cfg": normalised}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(described))
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    return tmp_path


def test_a_repository_that_describes_itself(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, _, transform = open_clip.create_model_and_transforms(f"local-dir:{repository}")
    image = Image.effect_noise((70, 50), 60).convert("RGB")
    texts = open_clip.get_tokenizer("tiny-clip")(TEXTS)
    expected, _ = reference.eval().get_logits(transform(image)[None], texts)

    def fetched(repo_id: str, filename: str, **options: object) -> str:
        assert repo_id == "nobody/clip"
        if not (repository / filename).exists():
            raise FileNotFoundError(filename)
        return str(repository / filename)

    monkeypatch.setattr("vitcam.models.hub._hub_silence", lambda: None)
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", fetched)
    for name in (f"local-dir:{repository}", "hf-hub:nobody/clip"):
        model = load_model(f"open_clip:{name}")
        assert model.preprocessing.std == (0.25,) * 3
        asked = model.with_prompts(TEXTS)
        with torch.no_grad():
            torch.testing.assert_close(asked.module(asked.preprocess(image)), expected.detach())
    (repository / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="Can't load open_clip:hf-hub:nobody/clip"):  # and no random weights
        load_model("open_clip:hf-hub:nobody/clip")


def test_repositories_that_are_not_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"(?s)Can't load open_clip:hf-hub:nobody/clip: .*local-dir:FOLDER"):
        load_model("open_clip:hf-hub:nobody/clip")
    with pytest.raises(ModelError, match=r"Can't load open_clip:local-dir:/gone: .*not found: /gone"):
        load_model("open_clip:local-dir:/gone")
    with pytest.raises(ModelError, match=r"has weights of its own\. Leave @a\.pt out"):
        load_model(f"open_clip:local-dir:{repository}@a.pt")
    torch.save({"weight": torch.zeros(3)}, repository / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"(?s)Can't load open_clip:local-dir:.*Missing key"):
        load_model(f"open_clip:local-dir:{repository}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-23", r"open_clip has no model called 'ViT-B-23'\. Nearest: ViT-B-32"),
        ("ViT-B-32/openia", r"open_clip has no weights for ViT-B-32 called 'openia'\. Nearest: openai"),
        (
            "ViT-B-32",
            r"doesn't say which weights\. Expected open_clip:ViT-B-32@FILE, or .*tags: openai, laion400m",
        ),
        ("tiny-clip", r"doesn't say which weights.*\(open_clip has none\)"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"Can't load open_clip:{name}: .*{message}"):
        load_model(f"open_clip:{name}")


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.pt doesn't exist"):
        load_model(f"open_clip:tiny-clip@{tmp_path}/gone.pt")
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r"(?s)the weights don't fit the model\..*Missing key"):
        load_model(f"open_clip:tiny-clip@{path}")


def test_a_tokenizer_that_is_on_the_hub_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("open_clip:tiny-hub", pretrained=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"(?s)open_clip:tiny-hub: .*Ways out: .*tokenizer"):
        model.with_prompts(TEXTS)
