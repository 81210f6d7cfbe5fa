"""The layout of the online store, byte by byte against Feast's own functions and protobuf messages."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.features.online.online_layout import (
    NANOS,
    decode_timestamp,
    decode_value,
    entity_key,
    entity_key_head,
    entity_value,
    feature_field,
)
from windtunnel.features.online.value_decoding import decode_values

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS = {
    "STRING": "string_val", "INT32": "int32_val", "INT64": "int64_val", "BYTES": "bytes_val",
    "UNIX_TIMESTAMP": "unix_timestamp_val",
}  # fmt: skip
LONG = st.integers(-(2**63), 2**63 - 1)
INTEGER = st.integers(-(2**31), 2**31 - 1)
KEY_VALUES = st.one_of(
    st.tuples(st.just("STRING"), st.text(max_size=20)),
    st.tuples(st.just("INT32"), INTEGER),
    st.tuples(st.just("INT64"), LONG),
    st.tuples(st.just("BYTES"), st.binary(max_size=20)),
    st.tuples(st.just("UNIX_TIMESTAMP"), LONG),
)
NUMBERS = st.one_of(
    st.floats().map(lambda value: Value(double_val=value)),
    st.floats(width=32).map(lambda value: Value(float_val=value)),
    LONG.map(lambda value: Value(int64_val=value)),
    INTEGER.map(lambda value: Value(int32_val=value)),
    st.booleans().map(lambda value: Value(bool_val=value)),
    LONG.map(lambda value: Value(unix_timestamp_val=value)),
    st.just(Value()),
    st.just(Value(null_val=0)),  # type: ignore[arg-type]
)


def number(value: Any) -> float:
    """What a message holds, by protobuf."""
    kind = value.WhichOneof("val")
    if kind in (None, "null_val") or (kind == "unix_timestamp_val" and value.unix_timestamp_val == -(2**63)):
        return math.nan
    return float(getattr(value, kind))


@given(st.dictionaries(st.text(min_size=1, max_size=12), KEY_VALUES, min_size=1, max_size=4))
def test_the_key_is_the_one_that_feast_writes(entity: dict[str, tuple[str, Any]]) -> None:
    values = [Value(**{FIELDS[kind]: value}) for kind, value in entity.values()]
    key = EntityKey(join_keys=list(entity), entity_values=values)
    names = sorted(entity)
    encoded = [entity_value(entity[name][1], entity[name][0]) for name in names]
    assert entity_key(entity_key_head(names), encoded, "prøject".encode()) == _redis_key("prøject", key, 3)
    assert serialize_entity_key(key, 3).startswith(entity_key_head(names))


@pytest.mark.parametrize(
    ("value", "kind"),
    [("1", "INT64"), (2**31, "INT32"), (2**63, "INT64"), (1.5, "INT64"), ("\ud800", "STRING")],
)
def test_a_key_value_that_its_type_cannot_hold(value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=r"is no|codec"):
        entity_value(value, kind)


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_field_is_the_one_that_feast_writes(view: str, feature: str) -> None:
    assert feature_field(view, feature) == _mmh3(f"{view}:{feature}")


@given(NUMBERS)
def test_every_kind_of_number(value: Any) -> None:
    np.testing.assert_equal(decode_value(value.SerializeToString()), number(value))


@given(st.lists(NUMBERS | st.none(), max_size=8), st.sampled_from([1, 40]))
def test_many_are_decoded_as_one_is(values: list[Any], times: int) -> None:
    messages = [None if value is None else value.SerializeToString() for value in values] * times
    expected = [math.nan if value is None else number(value) for value in values] * times
    np.testing.assert_array_equal(decode_values(messages), np.array(expected, dtype=np.float64))


@pytest.mark.parametrize(
    "kind", [ValueType.DOUBLE, ValueType.FLOAT, ValueType.INT64, ValueType.INT32, ValueType.BOOL]
)
def test_what_the_sdk_writes_for_a_null_is_missing(kind: ValueType) -> None:
    written = [value.SerializeToString() for value in python_values_to_proto_values([None, 1], kind)]
    assert written[0] == b""
    np.testing.assert_array_equal(decode_values(written), [math.nan, 1.0])


def test_a_missing_timestamp_is_missing() -> None:
    values = np.array(["NaT", "2026-03-01"], dtype="datetime64[ns]")
    written = python_values_to_proto_values(list(values), ValueType.UNIX_TIMESTAMP)
    decoded = decode_values([value.SerializeToString() for value in written])
    np.testing.assert_array_equal(decoded, [math.nan, datetime(2026, 3, 1, tzinfo=UTC).timestamp()])


DAMAGED = [
    Value(string_val="late").SerializeToString(),
    Value(string_val="").SerializeToString(),
    Value(bytes_val=b"\x29").SerializeToString(),
    b"\x29", b"\x29\x00", bytes.fromhex("29" + "00" * 7), bytes.fromhex("29" + "00" * 9),
    b"\x35\x00\x00\x00", b"\x35" + bytes(5),
    b"\x20", b"\x20\xff", b"\x20\x01\x01", b"\x20" + b"\xff" * 10, b"\x20" + b"\xff" * 9,
    b"\x18" + b"\x80" * 11,
    b"\x98\x01", b"\x98\x01\x80", b"\x98", b"\x00", b"\xff" * 9,
    # two doubles in one message
    Value(double_val=1.5).SerializeToString() * 2,
]  # fmt: skip


@pytest.mark.parametrize("value", DAMAGED, ids=bytes.hex)
@pytest.mark.parametrize(
    "decode", [decode_value, lambda v: decode_values([v]), lambda v: decode_values([None, v] * 200)]
)
def test_what_is_no_number_is_an_error(value: bytes, decode: Callable[[bytes], Any]) -> None:
    with pytest.raises(DataError, match=r"online store: (a feature's value|a number) is .*materialize"):
        decode(value)


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=6))
def test_many_fail_as_one_does(messages: list[bytes]) -> None:
    try:
        expected = [decode_value(message) for message in messages]
    except DataError:
        with pytest.raises(DataError):
            decode_values(messages * 60)
    else:
        np.testing.assert_array_equal(decode_values(messages * 60), np.array(expected * 60))


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(0, 999))
def test_timestamps_keep_their_nanoseconds(when: datetime, nanos: int) -> None:
    message = Timestamp()
    message.FromDatetime(when.replace(tzinfo=UTC))
    message.nanos += nanos
    assert decode_timestamp(message.SerializeToString()) == message.seconds * NANOS + message.nanos


@pytest.mark.parametrize("value", ["08", "08ff", "0801ff", "1080", "108094ebdc03", "1a00", "080110ff"])
def test_a_damaged_timestamp_is_an_error(value: str) -> None:
    with pytest.raises(DataError, match="materialize the view again"):
        decode_timestamp(bytes.fromhex(value))
