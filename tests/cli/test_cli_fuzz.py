"""Whatever is typed, and whatever lies in the files: an error is a sentence, never a traceback."""

import io
import re
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from vitcam.errors import ModelError, VitcamError
from vitcam.models import load_model
from vitcam.models.classes import find_class
from vitcam.models.spec import split_head

LEFT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
DIGITS, LONG = "9" * 5000, "a" * 5000
NASTY = [
    *(
        "",
        " ",
        "~nosuchuser",
        "~nosuchuser/x",
        "~",
        LONG,
        f"{'a' * 300}.jpg",
        "a/" * 1500,
        "é" * 200,
        "a\0b",
        "\0",
    ),
    *(
        DIGITS,
        f"-{DIGITS}",
        DIGITS[:2000],
        "1e999",
        "nan",
        "inf",
        "-1",
        "0",
        "²",
        "٣",
        "1_000",
        "0x10",
        "1.5",
        "None",
    ),
    *(
        "\udcff",
        "\x1b[2J",
        "*" * 50,
        "[" * 30,
        "**",
        "{}",
        "(" * 250,
        "()",
        "=",
        "a=",
        "=b",
        "@",
        "+",
        ":",
        ".",
        "/",
    ),
    *(
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "top",
        "top0",
        f"top{DIGITS[:2000]}",
        "-" * 2000,
        "--",
        "-x",
        "#",
    ),
]
SPECS = [
    *(
        "",
        "timm:",
        "timm:hf-hub:",
        "timm:vit_tiny_patch16_224",
        "timm:vit_tiny_patch16_224.",
        "timm:vit_tiny_patch16_224@",
    ),
    *("torchvision:", "torchvision:vit_b_16/", "torchvision:vit_b_16@", "hf:", "hf:/", "open_clip:"),
    *(
        "open_clip:ViT-B-32/",
        "open_clip:ViT-B-32@",
        "embedded:",
        "embedded:photo+",
        "embedded:photo@",
        "timm:hf-hub:",
    ),
]
METHODS = [
    "",
    "agcam",
    "attention(layer=",
    "agcam(layers=",
    "agcam(layers='last:",
    "captum:",
    "lrp(start_layer=",
]
DATA = [
    "",
    *(f"{kind}:" for kind in ("folder", "voc", "imagenet", "cub", "coco", "tiny-imagenet", "imagenet-seg")),
]

nasty = st.sampled_from(NASTY) | st.text(max_size=30)
seeded = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def put(*before):
    """Something nasty behind one of these, and perhaps a bracket to close."""
    return st.tuples(st.sampled_from(before), nasty, st.sampled_from(["", ")", "')", ".safetensors"])).map(
        "".join
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where what is made goes; pytest itself can't remove a thousand folders in each other."""
    folder = tmp_path_factory.mktemp("fuzz")
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder_of_its_own(folder):
    """Relative names that happen to be good end there; and nothing is served."""

    def refuse(*arguments, **options):
        raise VitcamError("it would be served now")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("vitcam.app.server.serve", refuse)
        yield


def assert_sentence(result):
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output
    assert not LEFT.search(result.output)
    if result.exit_code:
        assert "Error" in result.stderr or "Usage" in result.output


@seeded
@given(put(*SPECS))
@example("timm:vit_tiny_patch16_224.")
@example("embedded:photo+~nosuchuser/head.safetensors")
@example(f"timm:vit_tiny_patch16_224@{'a' * 300}")
@example(f"hf:{'a' * 300}")
def test_models(vitcam, photos, spec):
    assert_sentence(vitcam("explain", photos / "cat.jpg", f"--model={spec}", "-o", "out"))


@seeded
@given(put(*METHODS))
@example(f"attention(layer={'-' * 2000}1)")
@example(f"attention(layer={DIGITS})")
@example(f"agcam(layers='last:{DIGITS[:2000]}')")
def test_methods(vitcam, photos, method):
    assert_sentence(vitcam("explain", photos / "cat.jpg", f"--method={method}", "-o", "out"))


@seeded
@given(
    st.sampled_from(["target", "device", "threshold", "precision", "batch-size"]),
    put("", "top", "cat", "cuda:", "1"),
)
@example("target", DIGITS)
@example("target", f"top{DIGITS}")
def test_other_options_of_explain(vitcam, photos, option, value):
    assert_sentence(vitcam("explain", photos / "cat.jpg", f"--{option}={value}", "-o", "out"))


@seeded
@given(nasty.filter(lambda text: not text.startswith(("/", "~")) and ".." not in text))
@example("a" * 300)
@example("a/" * 1000)
def test_names_of_photographs_and_of_output(vitcam, photos, folder, name):
    assert_sentence(
        vitcam("explain", "-o", "out", "--", f"{folder}/none/{name}", name if "*" not in name else "x*")
    )
    assert_sentence(vitcam("explain", photos / "cat.jpg", "-o", f"{folder}/out/{name}"))


@seeded
@given(st.sampled_from(["evaluate", "train-head"]), put(*DATA))
@example("train-head", "folder:~nosuchuser")
@example("evaluate", "voc:~nosuchuser/VOC2012")
@example("train-head", f"folder:{'a' * 300}")
def test_datasets(vitcam, command, data):
    task = ["localization"] if command == "evaluate" else []
    assert_sentence(vitcam(command, *task, f"--data={data}", "-o", "run"))


BEFORE = {
    "evaluate localization --data folder:nowhere -o run": (
        *("data-option", "protocol", "test", "threshold", "limit", "steps", "batch-size", "seed", "workers"),
    ),
    "train-head --data folder:nowhere -o head": (
        *("held-out", "weight-decay", "batch-size", "seed", "workers", "data-option", "model"),
    ),
    "export --no-timing --method nonsense -o x.onnx": ("size", "classes", "text", "method", "model"),
    "bench --method nonsense": (
        *(
            "batch",
            "threads",
            "precision",
            "repeats",
            "part",
            "device",
            "model",
            "method",
            "json",
            "markdown",
        ),
    ),
    "app": (
        *("host", "port", "model", "max-upload-mb", "max-megapixels", "models-in-memory", "device"),
        *("visitor-quota-mb", "total-quota-mb", "trusted-proxy"),
    ),
    "report nowhere": ("format", "metric", "reference", "html", "output"),
}
"""Commands that come to nothing, and the options that are tried on them."""


@pytest.mark.parametrize("command", BEFORE)
@seeded
@given(st.data(), put("", "a=", "1", "timm:", "agcam("))
def test_options_of_other_commands(vitcam, command, data, value):
    option = data.draw(st.sampled_from(BEFORE[command]))
    assert_sentence(vitcam(*command.split(), f"--{option}={value}"))


@pytest.mark.parametrize("value", [DIGITS, DIGITS[:2000]])
def test_endless_numbers(vitcam, value):
    for command, options in BEFORE.items():
        for option in options:
            for text in (value, f"a={value}", f"{value}x{value}"):
                assert_sentence(vitcam(*command.split(), f"--{option}={text}"))


def image_bytes(kind):
    buffer = io.BytesIO()
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(picture).save(buffer, kind)
    return buffer.getvalue()


changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=12)


@seeded
@given(st.sampled_from(["jpeg", "png", "gif", "tiff", "bmp", "webp", "ppm"]), changes, st.integers(0, 100))
@pytest.mark.filterwarnings("ignore")  # Pillow warns of much of the damage
def test_damaged_photographs(vitcam, folder, kind, where, share):
    content = bytearray(image_bytes(kind))
    for place, value in where:
        content[place % len(content)] = value
    (folder / "damaged").mkdir(exist_ok=True)
    (folder / "damaged" / f"one.{kind}").write_bytes(content[: max(1, len(content) * share // 100)])
    result = vitcam("explain", folder / "damaged" / f"one.{kind}", "-o", folder / "out")
    assert_sentence(result)
    assert result.exit_code in (0, 1)


@seeded
@given(st.binary(max_size=200) | st.sampled_from([b"PK\3\4", b"\x80\2}q\0.", b"{}", b"\xff" * 64, b"\0" * 8]))
def test_damaged_weights_and_heads(folder, content):
    for name in ("weights.safetensors", "weights.pth"):
        (folder / name).write_bytes(content)
    for spec in (
        f"timm:vit_tiny_patch16_224@{folder}/weights.safetensors",
        f"timm:vit_tiny_patch16_224@{folder}/weights.pth",
        f"embedded:photo+{folder}/weights.safetensors",
    ):
        with pytest.raises(ModelError):
            load_model(spec)


@seeded
@given(st.text(), st.sampled_from([(), ("dog", "cat, tabby")]))
@example(DIGITS, ())
@example(DIGITS, ("dog",))
def test_names_of_classes(name, class_names):
    try:
        index = find_class(name, class_names)
    except VitcamError:
        return
    assert not class_names or index < len(class_names)


@seeded
@given(put(*SPECS))
@example(f"embedded:photo+{LONG}.safetensors")
@example("embedded:photo+~nosuchuser/x.safetensors")
def test_heads(spec):
    try:
        split_head(spec)
    except ModelError:
        assert max(len(part.encode(errors="replace")) for part in re.split("[:@/+]", spec)) > 255
