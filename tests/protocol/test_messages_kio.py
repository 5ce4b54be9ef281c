"""Every message and version that kio knows, in both directions: what we encode kio parses to the same
message, what kio writes we decode to the same message. An own encoder tested against an own decoder would
prove nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from protocol.compiler import decoder, encode
from tests.protocol.kio_oracle import KioFiller, kio_bytes, kio_class, kio_parse, to_kio
from tests.protocol.samples import api_classes, case_name, every_version, persisted_classes

EXAMPLES = 200 if os.environ.get("FLOE_SOAK") == "1" else 12
CASES = [pair for pair in every_version(api_classes() + persisted_classes()) if kio_class(*pair)]


def test_kio_knows_nearly_everything() -> None:
    """The versions without kio are listed in test_messages_kafka.py, where Kafka's own bytes stand in."""
    assert len(CASES) >= 558


@pytest.mark.parametrize(("cls", "version"), CASES, ids=case_name)
def test_codec_agrees_with_kio(cls: type, version: int) -> None:
    theirs = kio_class(cls, version)
    assert theirs is not None

    @settings(
        max_examples=EXAMPLES,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(KioFiller().message(cls, version, theirs))
    def agrees(message: object) -> None:
        expected = to_kio(message, theirs)
        assert kio_parse(theirs, bytes(encode(message, version))) == expected
        written = kio_bytes(expected)
        decoded, end = decoder(cls, version)(memoryview(written), 0)
        assert end == len(written)
        assert decoded == message

    agrees()


@given(st.data())
def test_messages_lie_anywhere_in_a_buffer(data: st.DataObject) -> None:
    """Positions are the buffer's, not the message's, and what follows a message is not touched."""
    cls, version = data.draw(st.sampled_from(CASES))
    message = data.draw(KioFiller().message(cls, version, kio_class(cls, version)))
    before, after = data.draw(st.binary(max_size=5)), data.draw(st.binary(max_size=5))
    encoded = bytes(encode(message, version))
    decoded, end = decoder(cls, version)(memoryview(before + encoded + after), len(before))
    assert end == len(before) + len(encoded)
    assert decoded == message
