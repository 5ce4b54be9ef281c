"""The table of error codes against kio's, which is generated from Kafka's."""

from __future__ import annotations

from kio.schema.errors import ErrorCode as KioErrorCode

from protocol.errors import ApiError, DiskFull, ErrorCode, Malformed, StorageFailed

# Newer than the Kafka that kio was generated from.
UNKNOWN_TO_KIO: set[ErrorCode] = set()


def test_codes_names_and_retriability_are_kafkas() -> None:
    for theirs in KioErrorCode:
        ours = ErrorCode(int(theirs))
        assert ours.name.lower() == theirs.name
        assert ours.retriable == theirs.retriable, ours.name
    assert set(ErrorCode) - {ErrorCode(int(theirs)) for theirs in KioErrorCode} == UNKNOWN_TO_KIO


def test_every_error_has_a_message_of_one_sentence() -> None:
    for code in ErrorCode:
        assert (code is ErrorCode.NONE) == (code.message == "")
        assert code is ErrorCode.NONE or (len(code.message) > 12 and code.message.endswith("."))
    assert len({code.message for code in ErrorCode}) == len(ErrorCode)


def test_codes_are_ints_on_the_wire() -> None:
    assert ErrorCode.KAFKA_STORAGE_ERROR == 56
    assert ErrorCode(-1) is ErrorCode.UNKNOWN_SERVER_ERROR


def test_api_error_takes_the_default_message() -> None:
    assert ApiError(ErrorCode.INVALID_CONFIG).message == ErrorCode.INVALID_CONFIG.message
    assert str(ApiError(ErrorCode.INVALID_CONFIG, "no such key: x")) == "INVALID_CONFIG: no such key: x"


def test_malformed_says_where() -> None:
    error = Malformed("a length is negative", message="FetchRequest", version=13, field="topics.partitions")
    assert str(error) == "FetchRequest v13: topics.partitions: a length is negative"
    assert str(Malformed("garbage")) == "garbage"


def test_a_full_disk_is_a_storage_failure_to_those_who_do_not_care() -> None:
    assert issubclass(DiskFull, StorageFailed)
