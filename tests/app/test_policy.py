import sys
from pathlib import Path

import pytest

import vitcam.app
from vitcam.app.policy import MAX_METHODS, is_loopback, policy_for, texts_of
from vitcam.errors import MethodError, ModelError, TargetError
from vitcam.methods import METHODS


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.9.1"])
def test_this_machine(host):
    assert is_loopback(host)
    assert policy_for(host, []).trusting


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", "localhost.example.org", ""])
def test_other_machines(host):
    assert not is_loopback(host)
    assert not policy_for(host, []).trusting


def test_models_offered_come_before_the_embedded_one():
    assert policy_for("::1", ["timm:a", "timm:a"]).specs == ("timm:a", "embedded:photo")


def test_on_this_machine_any_model_can_be_typed():
    assert policy_for("localhost", []).checked_model(" timm:x@/home/me/w.pth ") == "timm:x@/home/me/w.pth"


@pytest.mark.parametrize(
    "spec", ["timm:x@/etc/passwd", "hf:/etc", "timm:vit_base_patch16_224", "embedded:photo+/h.safetensors"]
)
def test_strangers_only_get_what_is_offered(spec):
    policy = policy_for("0.0.0.0", ["timm:offered"])
    with pytest.raises(ModelError, match=r"offers only timm:offered, embedded:photo"):
        policy.checked_model(spec)
    assert policy.checked_model("timm:offered") == "timm:offered"


def test_slips_are_told_before_anyone_visits():
    with pytest.raises(ModelError, match=r"doesn't say where the model is from"):
        policy_for("0.0.0.0", ["vit_base_patch16_224"])


def test_no_model():
    with pytest.raises(ModelError, match=r"No model is chosen"):
        policy_for("::1", []).checked_model("  ")


def test_methods_are_known_by_their_canonical_names():
    policy = policy_for("::1", [])
    assert policy.checked_methods(["agcam", "attention(layer=-1)", "attention", "gae"]) == (
        "agcam",
        "attention",
        "gae",
    )


def test_wrong_methods():
    policy = policy_for("::1", [])
    with pytest.raises(MethodError, match=r"No method is chosen"):
        policy.checked_methods([])
    with pytest.raises(MethodError, match=r"no method 'agcan'.* Did you mean 'agcam'"):
        policy.checked_methods(["agcan"])
    with pytest.raises(MethodError, match=r"at most 300 characters"):
        policy.checked_methods(["attention(layer=" + "(" * 300])
    many = [f"attention(layer={layer})" for layer in range(MAX_METHODS + 1)]
    with pytest.raises(MethodError, match=r"At most 8 methods .* 9 are chosen"):
        policy.checked_methods(many)


def test_strangers_give_no_options():
    policy = policy_for("0.0.0.0", [])
    assert policy.checked_methods(["agcam", "agcam(positive=True)"]) == ("agcam",)
    with pytest.raises(MethodError, match=r"without options: attention, not attention\(layer=3\)"):
        policy.checked_methods(["attention(layer=3)"])


def test_lines():
    assert texts_of(" a cat\r\n\na dog\na cat\n") == ("a cat", "a dog")
    assert texts_of([" a cat", "a dog\nx", "a cat", ""]) == ("a cat", "a dog", "x")
    assert texts_of(None) == ()
    with pytest.raises(TargetError, match=r"At most 50 .* these are 51"):
        texts_of("\n".join(map(str, range(51))))
    with pytest.raises(TargetError, match=r"at most 300 characters; 'x{40}'… has 301"):
        texts_of("x" * 301)


def test_what_is_computed_knows_nothing_of_gradio():
    files = Path(vitcam.app.__file__).parent.glob("*.py")
    knowing = {file.stem for file in files if "import gradio" in file.read_text()}
    assert knowing == {
        *("components", "events", "fields", "file_tab", "handlers", "layer_handlers", "page", "updates")
    }


def test_visitors_of_a_server_import_nothing(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    policy = policy_for("0.0.0.0", [])
    for name in ("trap:METHOD", " trap:METHOD (layer=1)", "trap:METHOD(layer=1)"):
        with pytest.raises(MethodError, match="This server has no method"):
            policy.checked_methods([name])
    with pytest.raises(ModelError, match="offers only"):
        policy.checked_model("trap:build")
    assert "trap" not in sys.modules


def test_visitors_may_choose_a_method_that_whoever_runs_the_server_added(monkeypatch):
    policy = policy_for("0.0.0.0", [])
    with pytest.raises(MethodError, match="This server has no method"):
        policy.checked_methods(["package.maps:METHOD"])
    monkeypatch.setitem(METHODS, "package.maps:METHOD", METHODS["agcam"])
    assert len(policy.checked_methods(["package.maps:METHOD"])) == 1
