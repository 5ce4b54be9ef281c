import os

import pytest

from broker.cli.errors import CommandFailed
from broker.cli.lines import LineFormat, read_lines


def test_headers_then_key_then_value() -> None:
    layout = LineFormat(b":", b"|", b"NULL", (("fixed", b"1"),))
    record = layout.parse(b"a=x,b|k:v:w", 1, 55)
    assert (record.key, record.value, record.timestamp) == (b"k", b"v:w", 55)
    assert record.headers == [("fixed", b"1"), ("a", b"x"), ("b", None)]


def test_the_marker_makes_nulls_and_only_a_whole_match_does() -> None:
    layout = LineFormat(key_separator=b":", null_marker=b"NULL")
    assert (layout.parse(b"NULL:NULL", 1, 0).key, layout.parse(b"NULL:NULL", 1, 0).value) == (None, None)
    assert layout.parse(b"NULLX:", 1, 0).key == b"NULLX"
    assert layout.parse(b"NULLX:", 1, 0).value == b""


def test_a_missing_separator_names_the_line() -> None:
    with pytest.raises(CommandFailed, match="Line 12 has no key separator"):
        LineFormat(key_separator=b"\t").parse(b"no tab", 12, 0)


def test_lines_over_chunks_carriage_returns_and_a_last_line_without_newline() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\r\ntw")
    lines = read_lines(reader, 10)
    assert next(lines) == [b"one"]
    os.write(writer, b"o\n\nlast")
    assert next(lines) == [b"two", b""]
    os.close(writer)
    assert list(lines) == [[b"last"]]
    os.close(reader)


def test_a_pause_in_the_input_is_reported_once() -> None:
    reader, writer = os.pipe()
    lines = read_lines(reader, 0)
    assert next(lines) == []
    os.write(writer, b"x\n")
    assert next(lines) == [b"x"]
    os.close(writer)
    os.close(reader)
