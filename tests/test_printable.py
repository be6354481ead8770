"""Text of others on a terminal."""

import io
import unicodedata

import pytest

from vitcam.printable import PrintableStream, one_line, printable


def test_nothing_that_a_terminal_acts_on_is_left():
    acting = [
        chr(code)
        for code in range(0x3000)
        if unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(chr(code))
        in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
    ]
    assert len(acting) > 70
    for char in acting:
        assert printable(char) == (char if char in "\t\n" else printable(char)[:1])
        assert char in "\t\n" or char not in printable(f"a{char}b")
        assert char not in one_line(f"a{char}b")
        assert len(one_line(f"a{char}b")) == 3


@pytest.mark.parametrize("text", ["cat.jpg", "gató 猫 😀 قطة", "a\nb\tc", ""])
def test_everything_else_stays(text):
    assert printable(text) == text


def test_a_stream():
    stream = io.StringIO()
    through = PrintableStream(stream)
    assert through.write("\x1b[31mred\n") == 9
    through.flush()
    assert stream.getvalue() == "␛[31mred\n"
    assert not through.isatty()
    assert through.encoding == stream.encoding
