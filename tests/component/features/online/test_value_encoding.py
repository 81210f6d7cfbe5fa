"""Values are encoded byte for byte as Feast's SDK encodes them when it materializes the same column."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.features.online.byte_columns import join, varints
from windtunnel.features.online.online_layout import entity_key_head
from windtunnel.features.online.value_encoding import (
    encode_key_values,
    encode_timestamps,
    encode_values,
    event_nanos,
)

MANY = settings(max_examples=120)
INT32 = st.integers(-(2**31), 2**31 - 1)
# With nulls in the column the SDK reads integers as floats, and loses those above 2**53.
INT64 = st.integers(-(2**53), 2**53)
FLOAT = st.floats() | st.floats(width=32) | st.just(0.0)
TEXT = st.text() | st.text(min_size=120, max_size=140)
BYTES = st.binary() | st.binary(min_size=120, max_size=300)
# Timestamps that Feast can hold; microseconds.
MOMENT = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
UUIDS = st.uuids().map(str)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False).map(str)
ZONED_US = pa.timestamp("us", "UTC")

SCALARS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "DOUBLE": (pa.float64(), FLOAT),
    "FLOAT": (pa.float32(), st.floats(width=32)),
    "INT32": (pa.int32(), INT32),
    "INT64": (pa.int64(), INT64),
    "BOOL": (pa.bool_(), st.booleans()),
    "UNIX_TIMESTAMP": (ZONED_US, MOMENT),
    "STRING": (pa.string(), TEXT),
    "BYTES": (pa.binary(), BYTES),
    "PDF_BYTES": (pa.binary(), BYTES),
    "IMAGE_BYTES": (pa.large_binary(), BYTES),
    "UUID": (pa.string(), UUIDS),
    "TIME_UUID": (pa.large_string(), UUIDS),
    "DECIMAL": (pa.string(), DECIMALS),
    "JSON": (pa.string(), st.sampled_from(["{}", '{"a": [1, null]}', "3", '"é"'])),
}
ITEMS = {
    "DOUBLE": SCALARS["DOUBLE"],
    "FLOAT": SCALARS["FLOAT"],
    "INT32": SCALARS["INT32"],
    "INT64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "BOOL": SCALARS["BOOL"],
    # The SDK takes the seconds of those in lists through a float, which rounds some in far centuries up.
    "UNIX_TIMESTAMP": (ZONED_US, st.integers(-(2**31) * 1_000_000, 2**31 * 1_000_000)),
    "STRING": SCALARS["STRING"],
    "BYTES": SCALARS["BYTES"],
    "UUID": SCALARS["UUID"],
    "TIME_UUID": SCALARS["TIME_UUID"],
    "DECIMAL": SCALARS["DECIMAL"],
}
NULLS_IN_LISTS = ("DOUBLE", "FLOAT", "BOOL", "UNIX_TIMESTAMP", "STRING", "BYTES", "UUID", "DECIMAL")


def ours(column: pa.Array, kind: str) -> list[bytes]:
    found: list[bytes] = encode_values(column, ValueType[kind], "feature").to_pylist()
    return found


def sdks(column: pa.Array, kind: str) -> list[bytes]:
    """As Feast's own materialization makes them of an Arrow column."""
    values = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), ValueType[kind])
    return [value.SerializeToString() for value in values]


def test_every_type_that_a_feature_can_have_is_in_these_tests() -> None:
    tested = {*SCALARS, *(f"{kind}_LIST" for kind in ITEMS), *(f"{kind}_SET" for kind in ITEMS)}
    others = {  # below, one by one
        "MAP", "MAP_LIST", "SCALAR_MAP", "STRUCT", "STRUCT_LIST", "JSON_LIST", "VALUE_LIST", "VALUE_SET",
        "ZONED_TIMESTAMP",
    }  # fmt: skip
    assert {kind.name for kind in ValueType} - tested - others == {"UNKNOWN", "NULL"}


@pytest.mark.parametrize("kind", SCALARS)
@given(data=st.data())
@MANY
def test_a_scalar_is_what_the_sdk_writes(kind: str, data: st.DataObject) -> None:
    arrow, value = SCALARS[kind]
    rows = data.draw(st.lists(st.none() | value, min_size=1, max_size=30))
    # The SDK takes empty bytes for nulls when a batch holds nothing else.
    assume(value is not BYTES or any(rows))
    column = pa.array([None, *rows], arrow).slice(1)
    assert ours(column, kind) == sdks(column, kind)


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("as_list", [pa.list_, pa.large_list])
@given(data=st.data())
@MANY
def test_a_list_is_what_the_sdk_writes(kind: str, as_list: Any, data: st.DataObject) -> None:
    arrow, value = ITEMS[kind]
    if kind in NULLS_IN_LISTS:
        value = st.none() | value
    rows = data.draw(st.lists(st.none() | st.lists(value, max_size=12), min_size=1, max_size=12))
    column = pa.array([["junk"] if arrow == pa.string() else None, *rows], as_list(arrow)).slice(1)
    assert ours(column, f"{kind}_LIST") == sdks(column, f"{kind}_LIST")


@pytest.mark.parametrize("kind", ITEMS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_set_is_what_the_sdk_writes(kind: str, data: st.DataObject) -> None:
    arrow, value = ITEMS[kind]
    # A set of Python's keeps several NaN, in any order.
    value = value.filter(lambda item: item == item)
    rows = data.draw(st.lists(st.none() | st.lists(value, max_size=8), min_size=1, max_size=8))
    column = pa.array(rows, pa.list_(arrow))
    assert ours(column, f"{kind}_SET") == sdks(column, f"{kind}_SET")


@given(rows=st.lists(st.none() | st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1))
@MANY
def test_a_vector_of_fixed_size_is_a_list(rows: list[list[float] | None]) -> None:
    column = pa.array(rows, pa.list_(pa.float32(), 3))
    assert ours(column, "FLOAT_LIST") == sdks(column, "FLOAT_LIST")


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("DOUBLE", pa.array([1, None, -3], pa.int64())),
        ("DOUBLE", pa.array([0, 2**62], pa.int64())),
        ("FLOAT", pa.array([1.5, 1e300, None, math.nan], pa.float64())),
        ("INT64", pa.array([1.9, -1.9, None, math.nan], pa.float64())),
        ("INT64", pa.array([1, 255], pa.uint8())),
        ("INT64", pa.array([True, False], pa.bool_())),
        ("INT32", pa.array([1, -7, None], pa.int16())),
        ("STRING", pa.array(["a", None, "b", "a"]).dictionary_encode()),
        ("STRING", pa.array(["a", None, "x" * 40], pa.string_view())),
        ("BYTES", pa.array([b"a", None, b"x" * 40], pa.binary_view())),
        ("STRING", pa.array([1, 2], pa.int64())),
        ("BOOL", pa.array([1, 0], pa.int64())),
        ("BYTES", pa.array([b"abc", None], pa.binary(3))),
        ("UNIX_TIMESTAMP", pa.array([date(1969, 12, 31), None, date(2026, 2, 3)], pa.date32())),
        ("UNIX_TIMESTAMP", pa.array([5, -5], pa.int64())),
        ("UNIX_TIMESTAMP", pa.array([-1, 1, None], pa.timestamp("ns"))),
        ("UNIX_TIMESTAMP", pa.array([-1_500, 1_500], pa.timestamp("ms", "Europe/Berlin"))),
        ("UNIX_TIMESTAMP", pa.array([None, None], pa.timestamp("us"))),
        ("DECIMAL", pa.array([Decimal("1.10"), Decimal("-3.00")], pa.decimal128(5, 2))),
        ("STRING", pa.nulls(3, pa.string())),
        ("DOUBLE_LIST", pa.nulls(3, pa.list_(pa.float64()))),
        ("DOUBLE", pa.array([], pa.float64())),
        ("STRING_LIST", pa.array([], pa.list_(pa.string()))),
        ("UNIX_TIMESTAMP_LIST", pa.array([[-1, 1_500_000]], pa.list_(pa.timestamp("us")))),
        ("JSON_LIST", pa.array([["{}", "[1]"], None, []], pa.list_(pa.string()))),
        ("VALUE_LIST", pa.array([[[1, 2], [], None], None], pa.list_(pa.list_(pa.int64())))),
        ("VALUE_SET", pa.array([[["a"], ["b"]]], pa.list_(pa.list_(pa.string())))),
        ("STRUCT", pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}])),
        ("MAP", pa.array([{"a": 1.5}, None])),
    ],
)  # fmt: skip
def test_other_columns_are_converted_as_by_the_sdk(kind: str, column: pa.Array) -> None:
    found, expected = ours(column, kind), sdks(column, kind)
    if kind in ("MAP", "STRUCT"):  # protobuf leaves the order of a map open
        assert [Value.FromString(value) for value in found] == [Value.FromString(value) for value in expected]
    else:
        assert found == expected


def read(column: pa.Array, kind: str) -> list[Any]:
    """As the SDK reads what was encoded."""
    values = [Value.FromString(value) for value in ours(column, kind)]
    return [feast_value_type_to_python_type(value, ValueType[kind]) for value in values]


def test_what_the_sdk_loses_is_kept() -> None:
    big = 2**53 + 1
    assert read(pa.array([big, None]), "INT64") == [big, None]
    assert read(pa.array([0.5, None], pa.float32()), "DOUBLE") == [0.5, None]
    assert read(pa.array([[1, None, 3]]), "INT64_LIST") == [[1, 0, 3]]
    views = pa.array([["a"], None, ["x" * 40]], pa.large_list(pa.string_view()))
    assert read(views, "STRING_LIST") == [["a"], None, ["x" * 40]]
    nanos = pa.array([[1_500_000_000, None]], pa.list_(pa.timestamp("ns")))
    assert read(nanos, "UNIX_TIMESTAMP_LIST") == [[datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), None]]
    mapped = pa.array([[("a", "1"), ("b", None)], None], pa.map_(pa.string(), pa.string()))
    assert read(mapped, "MAP") == [{"a": "1", "b": None}, None]
    maps = pa.array([[[("a", 1)]], None], pa.list_(pa.map_(pa.string(), pa.int64())))
    assert read(maps, "MAP_LIST") == [[{"a": 1}], None]
    structs = pa.array([[{"a": 1}, {"a": 2}]])
    assert read(structs, "STRUCT_LIST") == [[{"a": 1}, {"a": 2}]]
    numbered = pa.array([[(1, 0.5)], None], pa.map_(pa.int64(), pa.float64()))
    assert read(numbered, "SCALAR_MAP") == [{1: 0.5}, None]
    moment = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    (zoned, nothing) = read(pa.array([moment, None], pa.timestamp("us", "Europe/Berlin")), "ZONED_TIMESTAMP")
    assert zoned == moment
    assert str(zoned.tzinfo) == "Europe/Berlin"
    assert nothing is None
    assert read(pa.nulls(2), "DOUBLE") == [None, None]


@pytest.mark.parametrize(
    ("kind", "column", "message"),
    [
        ("INT32", pa.array([2**31], pa.int64()), "2147483648 does not fit INT32"),
        ("INT64", pa.array([2**63], pa.uint64()), "does not fit INT64"),
        ("INT64", pa.array([math.inf]), "inf does not fit INT64"),
        ("INT64", pa.array([2.0**63]), "does not fit INT64"),
        ("DOUBLE", pa.array(["x"]), "cannot store string as DOUBLE"),
        ("BYTES", pa.array(["x"]), "cannot store string as BYTES"),
        ("JSON", pa.array(["{"]), "Invalid JSON"),
        ("DOUBLE_LIST", pa.array([1.0]), "cannot store double as DOUBLE_LIST"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_column(kind: str, column: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        ours(column, kind)
    assert caught.value.where == "column 'feature'"


KEYS = {
    "STRING": (pa.string(), TEXT),
    "BYTES": (pa.binary(), BYTES),
    "INT32": (pa.int32(), INT32),
    "INT64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "UNIX_TIMESTAMP": (ZONED_US, MOMENT),
}


@given(data=st.data(), kinds=st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=3))
@MANY
def test_a_key_is_what_the_sdk_writes(data: st.DataObject, kinds: list[str]) -> None:
    names = data.draw(st.lists(st.text(min_size=1), min_size=len(kinds), max_size=len(kinds), unique=True))
    columns = [
        pa.array(data.draw(st.lists(KEYS[kind][1], min_size=3, max_size=3)), KEYS[kind][0]) for kind in kinds
    ]
    assume(all(any(column.to_pylist()) for column in columns if column.type == pa.binary()))
    table = dict(sorted(zip(names, zip(kinds, columns, strict=True), strict=True)))
    parts = [encode_key_values(column, ValueType[kind], name) for name, (kind, column) in table.items()]
    found = join(entity_key_head(list(table)), *parts, b"project").to_pylist()
    messages = [
        python_values_to_proto_values(column.to_numpy(zero_copy_only=False), ValueType[kind])
        for kind, column in zip(kinds, columns, strict=True)
    ]
    for row in range(3):
        key = EntityKey(join_keys=names, entity_values=[message[row] for message in messages])
        assert found[row] == serialize_entity_key(key, 3) + b"project"


def test_a_key_of_another_type_is_converted() -> None:
    assert encode_key_values(pa.array([7]), ValueType.STRING, "k").to_pylist() == [
        b"\x02\0\0\0\x01\0\0\x007",
    ]
    assert encode_key_values(pa.array([True]), ValueType.INT64, "k").to_pylist() == [
        b"\x04\0\0\0\x08\0\0\0\x01" + bytes(7),
    ]


@pytest.mark.parametrize(
    ("kind", "column", "message"),
    [
        ("STRING", pa.array(["a", None]), "1 rows have no 'k'"),
        ("INT64", pa.array([1.0, math.nan]), "1 rows have no 'k'"),
        ("STRING", pa.array([1.0, math.nan]), "1 rows have no 'k'"),
        ("DOUBLE", pa.array([1.0]), "'k' is DOUBLE, which Feast cannot store"),
    ],
)
def test_a_key_that_nothing_can_ask_for_is_refused(kind: str, column: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode_key_values(column, ValueType[kind], "k")


@given(
    moments=st.lists(MOMENT, min_size=1),
    unit=st.sampled_from(["us", "ms", "s"]),
    zone=st.sampled_from([None, "UTC", "America/New_York"]),
)
@MANY
def test_an_event_timestamp_is_what_the_sdk_writes(moments: list[int], unit: str, zone: str | None) -> None:
    divisor = {"us": 1, "ms": 1_000, "s": 1_000_000}[unit]
    column = pa.array([moment // divisor for moment in moments], pa.timestamp(unit, zone))
    found = encode_timestamps(*event_nanos(column, "event_timestamp")).to_pylist()
    for row, moment in enumerate(moments):
        expected = Timestamp()
        expected.FromMicroseconds(moment // divisor * divisor)
        assert found[row] == expected.SerializeToString()


def test_nanoseconds_of_an_event_timestamp_are_kept() -> None:
    column = pa.array([-1, 1_000_000_001], pa.timestamp("ns", "UTC"))
    found = encode_timestamps(*event_nanos(column, "t")).to_pylist()
    assert found == [
        Timestamp(seconds=-1, nanos=999_999_999).SerializeToString(),
        Timestamp(seconds=1, nanos=1).SerializeToString(),
    ]


def test_an_event_timestamp_has_to_be_there() -> None:
    with pytest.raises(DataError, match="no value in some rows"):
        event_nanos(pa.array([None], pa.timestamp("us")), "t")
    with pytest.raises(DataError, match="is string, not a timestamp"):
        event_nanos(pa.array(["2026-01-01"]), "t")
    with pytest.raises(DataError, match="is int64, not a timestamp"):
        event_nanos(pa.array([1]), "t")


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
@MANY
def test_a_variable_length_integer_is_protobufs(numbers: list[int]) -> None:
    found = varints(np.array(numbers, np.int64), b"\x20").to_pylist()
    assert found == [Value(int64_val=number).SerializeToString() for number in numbers]
