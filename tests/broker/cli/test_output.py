import json

from broker.cli.output import bytes_to_json, format_size, format_table, format_timestamp


def test_columns_line_up_numbers_to_the_right() -> None:
    text = format_table(
        ("NAME", "COUNT", "SIZE"), [("a", 5, format_size(0)), ("long name", 12345, format_size(1536))]
    )
    assert text.splitlines() == [
        "NAME       COUNT     SIZE",
        "a              5      0 B",
        "long name  12345  1.5 KiB",
    ]


def test_missing_values_are_dashes_and_keep_the_column_numeric() -> None:
    assert format_table(("N",), [(100,), (None,)]).splitlines() == ["  N", "100", "  -"]


def test_sizes() -> None:
    assert [format_size(n) for n in (0, 1023, 1024, 5 << 20, 1 << 60)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "1024.0 PiB",
    ]


def test_timestamps_out_of_the_calendar_are_numbers() -> None:
    assert format_timestamp(1) == "1970-01-01T00:00:00.001Z"
    assert format_timestamp(-1) is None
    assert format_timestamp(1 << 62) == str(1 << 62)


def test_bytes_that_are_no_text_are_kept_in_base64() -> None:
    assert bytes_to_json("key", b"\xff\x00") == {"key_base64": "/wA="}
    assert bytes_to_json("key", None) == {"key": None}
    assert json.dumps(bytes_to_json("key", "é".encode()), ensure_ascii=False) == '{"key": "é"}'
