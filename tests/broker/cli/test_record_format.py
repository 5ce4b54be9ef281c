import pytest

from broker.cli.record_format import compile_format, record_json
from protocol.records import Record

RECORD = Record(7, 1234, b"k", b"v%s", [("h", b"1"), ("n", None)])


def test_every_placeholder() -> None:
    render = compile_format(b"%t/%p@%o %T %k=%v %s [%h] %K %S 100%%\n")
    assert render("topic", 3, RECORD) == b"topic/3@7 1234 k=v%s v%s [h=1,n] 1 3 100%\n"


def test_nulls_are_printed_as_asked_and_have_length_minus_one() -> None:
    render = compile_format(b"%k|%v|%K|%S|%h", null=b"NULL")
    assert render("t", 0, Record(0, 0, None, None)) == b"NULL|NULL|-1|-1|"


@pytest.mark.parametrize(("layout", "text"), [(b"", b""), (b"%%", b"%"), (b"%%%%x", b"%%x"), (b"%%k", b"%k")])
def test_percent_signs(layout: bytes, text: bytes) -> None:
    assert compile_format(layout)("t", 0, RECORD) == text


@pytest.mark.parametrize("layout", [b"%", b"%x", b"a%"])
def test_unknown_placeholders_name_the_known_ones(layout: bytes) -> None:
    with pytest.raises(ValueError, match="%t, %p, %o"):
        compile_format(layout)


def test_json_has_everything() -> None:
    assert record_json("t", 1, RECORD) == {
        "topic": "t",
        "partition": 1,
        "offset": 7,
        "timestamp": 1234,
        "key": "k",
        "value": "v%s",
        "headers": [{"key": "h", "value": "1"}, {"key": "n", "value": None}],
    }
