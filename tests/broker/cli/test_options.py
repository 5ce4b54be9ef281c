import click
import pytest

from broker.cli.options import bootstrap_servers, escaped, key_value, moment, patience, separator, size_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h", [("h", 9092)]),
        ("h:1, g:2", [("h", 1), ("g", 2)]),
        ("[::1]:9", [("::1", 9)]),
        ("::1", [("::1", 9092)]),
        ("PLAINTEXT://h:5", [("h", 5)]),
    ],
)
def test_addresses(text: str, expected: list[tuple[str, int]]) -> None:
    assert bootstrap_servers(text) == expected


@pytest.mark.parametrize("text", ["", ",", ":9092", "h:x", "h:65536", "[::1]:x"])
def test_what_is_no_address_says_what_was_expected(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected host:port"):
        bootstrap_servers(text)


def test_key_value_keeps_later_equal_signs_and_empty_values() -> None:
    assert key_value("a=b=c") == ("a", "b=c")
    assert key_value("a=") == ("a", "")
    with pytest.raises(click.BadParameter):
        key_value("a")


@pytest.mark.parametrize(("text", "size"), [("7", 7), ("64k", 64000), ("64KiB", 65536), ("1 MiB", 1 << 20)])
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "k", "1.5k", "-1", "1 TB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        size_bytes(text)


def test_moments_without_a_zone_are_utc() -> None:
    assert moment("1970-01-01T00:00:01") == moment("1970-01-01T01:00:01+01:00") == moment("1000") == 1000
    assert moment("1970-01-02") == 86_400_000
    with pytest.raises(click.BadParameter):
        moment("yesterday")


@pytest.mark.parametrize("text", ["0", "nan", "inf", "-1", "1e300", "soon", ""])
def test_what_is_no_time_to_wait(text: str) -> None:
    assert patience("0.5") == 0.5
    with pytest.raises(click.BadParameter, match="seconds"):
        patience(text)


def test_a_separator_is_something() -> None:
    assert separator(r"\t") == b"\t"
    with pytest.raises(click.BadParameter, match="at least one"):
        separator("")


def test_escapes_and_other_characters() -> None:
    assert escaped(r"\t|\x00é→") == "\t|\x00é→".encode()
    with pytest.raises(click.BadParameter):
        escaped("\\x1")
