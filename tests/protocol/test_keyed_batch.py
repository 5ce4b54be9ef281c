"""What a coordinator writes is, byte for byte, what `records.build` makes of it, which Kafka's own bytes vouch for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.keyed_batch import build_keyed
from protocol.records import Record, build, parse_batches

keys = st.binary(max_size=200)
entries = st.lists(st.tuples(keys, st.none() | st.binary(max_size=20_000)), min_size=1, max_size=80)
timestamps = st.integers(0, 2**62)


@given(entries, timestamps)
def test_a_batch_is_what_build_makes(pairs: list[tuple[bytes, bytes | None]], timestamp_ms: int) -> None:
    out, _ = build_keyed(pairs, timestamp_ms)
    assert out == build([Record(timestamp=timestamp_ms, key=key, value=value) for key, value in pairs])


@given(entries, st.integers(0, 2**62), st.integers(0, 2**15 - 1))
def test_so_is_one_of_a_transaction(
    pairs: list[tuple[bytes, bytes | None]], producer_id: int, producer_epoch: int
) -> None:
    out, _ = build_keyed(pairs, 7, producer_id, producer_epoch)
    assert out == build(
        [Record(timestamp=7, key=key, value=value) for key, value in pairs],
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        is_transactional=True,
    )


@given(entries, timestamps)
def test_the_header_is_the_one_in_the_bytes(
    pairs: list[tuple[bytes, bytes | None]], timestamp_ms: int
) -> None:
    out, header = build_keyed(pairs, timestamp_ms)
    [parsed] = parse_batches(out)
    assert {name: getattr(header, name) for name in header.__slots__} == {
        name: getattr(parsed, name) for name in parsed.__slots__
    }
