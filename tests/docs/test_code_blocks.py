"""Every code block of the documentation and of the README does what the page says.

Python blocks run, those of one page one after another in one namespace; so do ``vitcam`` commands, in this
process. A block of language ``output`` is what the block before it prints, but for the last digits of numbers. A
block behind ``<!-- not run: REASON -->``, and one of no language, is only read: Python must compile, and the
command line must take every command.
"""

from __future__ import annotations

import contextlib
import io

import jaxtyping
import pytest
from doc_commands import calls_of, check_call
from doc_pages import PAGES, Block, blocks_of
from typer.testing import CliRunner

from vitcam.cli.program import program
from vitcam.evaluation.measures import MEASURES
from vitcam.methods import METHODS

PLAIN = {"", "output", "text", "csv", "json", "bibtex", "toml", "html"}  # nothing that could be run
# The README speaks of models and batches that people know; here small ones stand in.
STAND_INS = {
    "README.md": [("vit_base_patch16_224", "vit_tiny_patch16_224"), ("torch.randn(8,", "torch.randn(2,")]
}


@pytest.fixture(autouse=True)
def _like_a_process_of_its_own():
    before = dict(METHODS), dict(MEASURES)
    with pytest.MonkeyPatch.context() as patch:
        # as a reader runs it: without the tests' check of annotations, which a traced model can't pass
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield
    for registry, entries in zip((METHODS, MEASURES), before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_code_blocks(page, checkout, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("COLUMNS", "100")
    scratch = tmp_path_factory.mktemp("calls")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        where = f"{page}:{block.line}"
        if block.language == "python":
            printed = run_python(block, page, where, names)
        elif block.language in ("bash", ""):
            printed = run_shell(block, page, where, checkout, scratch)
        else:
            assert block.language in PLAIN, f"{where}: what is {block.language!r}?"
            continue
        if block.output is not None and not block.not_run:
            assert same(printed, block.output), f"{where} prints something else:\n{printed}"


def run_python(block: Block, page: str, where: str, names: dict[str, object]) -> str:
    text = block.text
    for known, small in STAND_INS.get(page, []):
        text = text.replace(known, small)
    code = compile("\n" * (block.line - 1) + text, page, "exec")
    if block.not_run:
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    return printed.getvalue()


def run_shell(block: Block, page: str, where: str, folder, scratch) -> str:
    printed = []
    for call in calls_of(block.text, folder, scratch):
        check_call(call)
        if call[0] == "vitcam" and block.language and not block.not_run:
            result = CliRunner().invoke(program, call[1:])
            assert result.exit_code == 0, f"{where}: {' '.join(call)}\n{result.output}"
            printed.append(result.stdout)
    return "".join(printed)


def same(printed: str, expected: str) -> bool:
    """Word for word, as far as a line goes that ends in …; the last digits depend on the machine."""
    one, other = (text.strip().splitlines() for text in (printed, expected))
    return len(one) == len(other) and all(map(same_line, one, other))


def same_line(line: str, expected: str) -> bool:
    words, others = line.split(), expected.split()
    if others[-1:] == ["…"]:
        others.pop()
        words = words[: len(others)]
    return len(words) == len(others) and all(map(same_word, words, others))


def same_word(word: str, expected: str) -> bool:
    """Numbers with a point may differ by a twentieth."""
    if "." in expected:
        with contextlib.suppress(ValueError):
            return float(word) == pytest.approx(float(expected), rel=0.05)
    return word == expected


def test_lines_fit_the_page():
    long = [
        f"{page}:{block.line} {line}"
        for page in PAGES
        if page.startswith("docs/")
        for block in blocks_of(page)
        for line in block.text.splitlines()
        if block.language in ("python", "bash") and len(line) > 92
    ]
    assert not long


def test_blocks_are_found():
    blocks = blocks_of("docs/index.md")
    assert [block.language for block in blocks] == ["bash", "bash", "bash", "python", "python"]
    assert [bool(block.not_run) for block in blocks] == [True, False, False, False, False]
    assert [block.output is not None for block in blocks] == [False, True, False, True, True]
    assert any(block.language == "python" for block in blocks_of("README.md"))


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (["vitcam", "explian", "cat.jpg"], "explian"),
        (["vitcam", "explain", "cat.jpg", "--colour", "red"], "--colour"),
        (["vitcam", "evaluate", "detection", "--data", "voc:X", "-o", "run"], "detection"),
        (["pip", "install", "vitcam[nonsense]"], "nonsense"),
        (["make", "nonsense"], "nonsense"),
        (["python", "examples/nonsense.py"], "nonsense"),
    ],
)
def test_wrong_commands_are_found(call, problem):
    with pytest.raises(Exception, match=problem):  # what is raised is the parser's own affair
        check_call(call)


def test_the_shell_takes_commands_apart(tmp_path):
    script = 'M="--method agcam\n  --method lrp"\nvitcam explain "a b.jpg" $M \\\n  --boxes  # boxes\n'
    assert calls_of(script, tmp_path, tmp_path) == [
        ["vitcam", "explain", "a b.jpg", "--method", "agcam", "--method", "lrp", "--boxes"]
    ]


def test_another_output_is_found():
    assert same("cat  26.3 %\nBox(left=19)\n", "cat 26.4 %\n\nBox(left=19)") is False
    assert same("cat  26.3 %\nBox(left=19)\n", "cat 26.4 %\nBox(left=19)")
    assert not same("cat 26.3 %", "cat 36.3 %")
    assert not same("cup 26.3 %", "cat 26.3 %")
    assert not same("torch.Size([1, 2])", "torch.Size([1, 3])")
    assert same("2 maps (0.9 photographs/s)", "2 maps …")
    assert not same("3 maps (0.9 photographs/s)", "2 maps …")
