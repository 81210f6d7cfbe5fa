"""Infer requests as no well-behaved client sends them: good ones, then mutated, by one seeded generator.

`made(rng)` gives a request; the same generator gives the same one.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from binary_request import DTYPES, HEADER, raw
from hostile_values import DATATYPES, FIELDS, NAMES, NUMBERS, OTHERS, SHAPES, TARGETS, TEXTS
from served_bundle import FEATURES, tensor

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

PATH = "/v2/models/flight_delay/infer"


class Request(NamedTuple):
    """One request that is well-formed HTTP, whatever it says."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Token(str):
    """JSON text that goes out as it is."""

    __slots__ = ()


class Doubled(NamedTuple):
    """An object with a key twice."""

    whole: dict[str, Any]
    key: str
    again: Any


def good(rng: random.Random) -> dict[str, Any]:
    """A request that is answered."""
    rows = rng.choice([1, 1, 1, 2, 3, 17])
    datatype = rng.choice(["FP64", "FP64", "FP32", "INT64", "INT8", "UINT16", "BOOL"])
    form = rng.randrange(3)
    if form == 0:
        data: list[Any] = [_values(rng, datatype, 5) for _ in range(rows)]
        flat = data if rng.random() < 0.3 else [value for row in data for value in row]
        inputs = [tensor("features", datatype, flat, [rows, 5])]
    elif form == 1:
        inputs = [tensor(name, datatype, _values(rng, datatype, rows)) for name in FEATURES]
    else:
        inputs = [
            tensor("carrier", "BYTES", [rng.choice(["UA", "Zürich", "", "🛩"]) for _ in range(rows)]),
            tensor(
                "route_id", rng.choice(["INT64", "INT32", "UINT8"]), [rng.randrange(100) for _ in range(rows)]
            ),
            tensor("hour", datatype, _values(rng, datatype, rows)),
            tensor("distance", datatype, _values(rng, datatype, rows)),
        ]
    rng.shuffle(inputs)
    return {"inputs": inputs, **_beside(rng)}


def _values(rng: random.Random, datatype: str, count: int) -> list[Any]:
    if datatype == "BOOL":
        return [rng.random() < 0.5 for _ in range(count)]
    if datatype.startswith("FP"):
        return [rng.choice([None, rng.uniform(-3, 3), 0.5, 1.0]) for _ in range(count)]
    return [rng.choice([None, rng.randrange(5)]) for _ in range(count)]


def _beside(rng: random.Random) -> dict[str, Any]:
    """What a request may have beside its inputs."""
    more: dict[str, Any] = {}
    if rng.random() < 0.3:
        more["id"] = rng.choice(["", "mine", "é" * 1000])
    if rng.random() < 0.4:
        more["parameters"] = rng.choice(
            [
                {"key": rng.choice(["k", 7, "é", -1, 10**50])},
                {"event_timestamp": "2026-11-24T17:00:00Z"},
                {"binary_data_output": True},
                {"priority": 3, "timeout": 5},
            ]
        )
    if rng.random() < 0.2:
        wish = rng.choice([{}, {"parameters": {"binary_data": True}}, {"parameters": {"binary_data": False}}])
        more["outputs"] = [{"name": "probability", **wish}]
    return more


def _hostile(rng: random.Random) -> Any:
    return Token(rng.choice(rng.choice([NUMBERS, TEXTS, OTHERS])))


def _mutate(rng: random.Random, value: Any) -> Any:
    """The value with one change somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        return _mutate_object(rng, value)
    if isinstance(value, list) and value and rng.random() < 0.85:
        return _mutate_list(rng, value)
    return _hostile(rng)


def _mutate_object(rng: random.Random, value: dict[str, Any]) -> Any:
    key = rng.choice(list(value))
    change = rng.randrange(8)
    if change == 0:
        return {name: item for name, item in value.items() if name != key}
    if change == 1:
        return Doubled(value, key, _mutate(rng, value[key]) if rng.random() < 0.5 else value[key])
    if change == 2:
        return {**value, rng.choice(["parameters", "raw", "nan_is_missing", "x", "id", ""]): _hostile(rng)}
    if change == 3:
        return {(key + "s" if name == key else name): item for name, item in value.items()}
    if key == "shape" and change < 6:
        return {**value, "shape": rng.choice(SHAPES)}
    if key == "datatype":
        return {**value, "datatype": rng.choice(DATATYPES)}
    if key == "name":
        return {**value, "name": rng.choice(NAMES)}
    return {**value, key: _mutate(rng, value[key])}


def _mutate_list(rng: random.Random, value: list[Any]) -> list[Any]:
    at = rng.randrange(len(value))
    change = rng.randrange(6)
    if change == 0:
        return value[:at] + value[at + 1 :]
    if change == 1:
        return [*value[: at + 1], *value[at:]]
    if change == 2:
        return [*value, _hostile(rng)]
    if change == 3 and len(value) < 100:
        return value * rng.choice([2, 3, 50])
    return [*value[:at], _mutate(rng, value[at]), *value[at + 1 :]]


def render(value: Any) -> str:
    """As JSON, or as what it wants to be instead."""
    if isinstance(value, Token):
        return value
    if isinstance(value, Doubled):
        whole = render(value.whole)
        return f"{whole[:-1]}, {json.dumps(value.key)}: {render(value.again)}}}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {render(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(render, value)) + "]"
    return json.dumps(value)


def mutated(rng: random.Random) -> Request:
    """A good request in JSON, with some changes."""
    value: Any = good(rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
        if not isinstance(value, (Token, Doubled)):
            value = _mutate(rng, value)
    return Request("POST", PATH, [], render(value).encode("utf-8", "surrogatepass"))


def _binary(rng: random.Random) -> Request:
    rows = rng.choice([1, 1, 2, 5])
    datatype = rng.choice([*DTYPES])
    inputs = [raw("features", datatype, [rng.randrange(2) for _ in range(5 * rows)], [rows, 5])]
    if rng.random() < 0.5:
        names = [*FEATURES] if rng.random() < 0.5 else ["hour", "distance"]
        inputs = [raw(name, datatype, [rng.randrange(2) for _ in range(rows)]) for name in names]
        if len(names) == 2:
            texts = [rng.choice(["UA", "é", "", b"\xff", b"\xed\xa0\x80", "x" * 1001]) for _ in range(rows)]
            inputs += [raw("carrier", "BYTES", texts), raw("route_id", "INT32", [1] * rows)]
    described: list[Any] = [item for item, _ in inputs]
    parts = [data for _, data in inputs]
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(len(parts))
        parts[at] = _hostile_bytes(rng, parts[at])
        if rng.random() < 0.5 and isinstance(described[at], dict):
            described[at] = {**described[at], "parameters": {"binary_data_size": len(parts[at])}}
        if rng.random() < 0.4 and isinstance(described[at], dict):
            described[at] = _mutate(rng, described[at])
    head = render({"inputs": described, **_beside(rng)}).encode("utf-8", "surrogatepass")
    length: Any = len(head)
    if rng.random() < 0.2:
        length = rng.choice(
            [0, 1, length - 1, length + 1, length + sum(map(len, parts)), 10**9, "-1", "1e3", ""]
        )
    return Request("POST", PATH, [(HEADER, str(length))], head + b"".join(parts))


def _hostile_bytes(rng: random.Random, data: bytes) -> bytes:
    change = rng.randrange(6)
    if change == 0:
        return data[: rng.randrange(len(data) + 1)]
    if change == 1:
        return data + rng.randbytes(rng.randrange(1, 9))
    if change == 2:
        return rng.randbytes(len(data))
    if change == 3:
        bits = rng.choice([float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, -0.0])
        return (struct.pack("<d", bits) * (len(data) // 8 + 1))[: len(data)]
    if change == 4:
        return b"\xff" * len(data)
    return _flipped(rng, data)


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 20])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _bytes(rng: random.Random) -> Request:
    """A good body with wrong bytes."""
    method, target, headers, body = rng.choice([mutated, _binary])(rng)
    at = rng.randrange(len(body) + 1)
    change = rng.randrange(5)
    if change == 0:
        body = body[:at]
    elif change == 1:
        body = body[:at] + rng.randbytes(rng.randrange(1, 20)) + body[at:]
    elif change == 2:
        body = rng.randbytes(rng.choice([0, 1, 100, 10_000]))
    elif change == 3:
        body += body
    else:
        body = _flipped(rng, body)
    return Request(method, target, headers, body)


def _large(rng: random.Random) -> Request:
    """Near the limits, or over them."""
    size = rng.choice([100_000, 1_000_000, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1, 6_000_000])
    row = b'{"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 5], "data": [1, 2, 3, 4, 5]}]'
    makers: list[Callable[[], bytes]] = [
        lambda: (row + b"}").ljust(size),
        lambda: row + b', "id": "' + b"x" * (size - len(row) - 12) + b'"}',
        lambda: b"[" * size,
        lambda: row[:-3] + b", 1" * (size // 3) + b"]}]}",
        lambda: b'{"inputs": [' + b"{}," * (size // 3) + b"{}]}",
        lambda: b'{"inputs": [{"name": "features", "shape": [' + b"1," * (size // 2) + b"1]}]}",
        lambda: bytes(size),
    ]
    return Request("POST", PATH, [], rng.choice(makers)())


def _compressed(rng: random.Random) -> Request:
    body = rng.choice([render(good(rng)).encode(), bytes(4_000_000)])
    kind = rng.choice(["gzip", "deflate", "br", "identity", "gzip, gzip", ""])
    packed = (
        gzip.compress(body, 1, mtime=0)
        if "gzip" in kind
        else zlib.compress(body, 1)
        if kind == "deflate"
        else body
    )
    return Request("POST", PATH, [("Content-Encoding", kind)] if rng.random() < 0.8 else [], packed)


def _odd(rng: random.Random) -> Request:
    """Odd methods, targets and headers."""
    method = rng.choice(["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE"])
    headers = [rng.choice(FIELDS) for _ in range(rng.choice([0, 1, 2, 5]))]
    body = b"" if method in {"GET", "HEAD", "TRACE"} else render(good(rng)).encode()
    return Request(method, rng.choice([PATH, *TARGETS]), headers, body)


_MAKERS = [(mutated, 50), (_binary, 24), (_bytes, 10), (_odd, 12), (_compressed, 2), (_large, 2)]


def made(rng: random.Random) -> Request:
    """Any of these."""
    (maker,) = rng.choices([maker for maker, _ in _MAKERS], [weight for _, weight in _MAKERS])
    return maker(rng)
