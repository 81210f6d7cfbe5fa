"""Open Inference Protocol v2 on the wire: what callers send and get, and strict decoding of tensors.

Numbers may be sent as FP64, FP32, INT64, INT32 or BOOL tensors, text as BYTES (JSON strings); data may be
flat or nested. JSON has no NaN: `null` is how a caller says that a number is missing. What is not a number
of the declared datatype is refused, never coerced.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np

from windtunnel.errors import RequestError

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of one request."""
MAX_ROWS: Final = 10_000
"""Rows of one request; larger batches belong to batch scoring."""


class Tensor(msgspec.Struct):
    """An input as sent; its data stays undecoded until the datatype says how to read it."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw


class Parameters(msgspec.Struct):
    """What a caller may say beside the inputs; what is not listed here is accepted and has no effect."""

    event_timestamp: datetime | None = None
    """When the asked-for thing happens: the age of online features counts back from here. Default: now."""
    key: str | int | None = None
    """Requests of equal keys are answered by the same version while a challenger has a share of them.
    Default: the entity that is asked for."""


class InferRequest(msgspec.Struct):
    """Body of an infer call; the protocol's `outputs` is accepted and has no effect."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: Parameters = msgspec.field(default_factory=Parameters)

    def event_time(self) -> float | None:
        """Seconds since 1970, or None for now. Raises RequestError."""
        moment = self.parameters.event_timestamp
        if moment is None:
            return None
        if moment.tzinfo is None:
            raise RequestError(
                f"{moment.isoformat()} has no time zone",
                where="parameter 'event_timestamp'",
                fix="end it with Z or an offset such as +01:00",
            )
        return moment.timestamp()


class OutputTensor(msgspec.Struct):
    """One answer per row."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferResponse(msgspec.Struct, omit_defaults=True):
    """Body of the answer."""

    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]
    id: str | None = None


_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(InferRequest)

_Decoders = tuple[msgspec.json.Decoder[list[Any]], msgspec.json.Decoder[list[list[Any]]]]


def _decoders(kind: Any) -> _Decoders:
    return msgspec.json.Decoder(list[kind]), msgspec.json.Decoder(list[list[kind]])


_NUMBERS: Final = {
    "FP64": float | None,
    "FP32": float | None,
    "INT64": int | None,
    "INT32": int | None,
    "BOOL": bool | None,
}
_NUMBER_DECODERS: Final = {name: _decoders(kind) for name, kind in _NUMBERS.items()}
_STRING_DECODERS: Final = _decoders(str)
_INTEGER_DECODERS: Final = _decoders(int)
_INTEGER_BITS: Final = {"INT64": 64, "INT32": 32}
_NESTED: Final = re.compile(rb"\s*\[\s*\[")
_FP32_MAX: Final = float(np.finfo(np.float32).max)

encode = _encoder.encode


def error_body(message: str) -> bytes:
    """The protocol's error body."""
    return encode({"error": message})


def parse(body: bytes) -> InferRequest:
    """The request in a body. Raises RequestError that names the place of what is wrong."""
    try:
        return _request_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(
            str(error),
            where="body",
            fix="send an Open Inference Protocol v2 request: {inputs: [{name, shape, …}]}",
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fix = "send JSON in UTF-8"
        if b"NaN" in body or b"Infinity" in body:
            fix = "JSON knows neither NaN nor Infinity: send null for a missing number"
        raise RequestError(f"not valid JSON: {error}", where="body", fix=fix) from error


def numbers(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The tensor's values as float64 in its shape, NaN for null. Raises RequestError."""
    decoders = _NUMBER_DECODERS.get(tensor.datatype)
    if decoders is None:
        raise _unfit(tensor, f"datatype {tensor.datatype!r} holds no numbers", f"use {', '.join(_NUMBERS)}")
    values = _decode(tensor, decoders, "send numbers, and null for a missing one")
    if bits := _INTEGER_BITS.get(tensor.datatype):
        _check_range(tensor, values, bits)
    array = np.array(values, dtype=np.float64)
    if tensor.datatype == "FP32" and np.any(np.abs(array) > _FP32_MAX):
        raise _unfit(tensor, "a number is out of range for FP32", "send it as FP64")
    return array.reshape(tensor.shape)


def strings(tensor: Tensor) -> list[str]:
    """The values of a BYTES tensor of one column; null is refused."""
    if tensor.datatype != "BYTES":
        raise _unfit(tensor, f"this is text, not {tensor.datatype}", "send datatype BYTES and JSON strings")
    return _decode(tensor, _STRING_DECODERS, "send JSON strings")


def integers(tensor: Tensor, bits: int) -> list[int]:
    """The values of an INT64 or INT32 tensor of one column, in range for `bits`; null is refused."""
    if tensor.datatype not in _INTEGER_BITS:
        raise _unfit(tensor, f"this is an integer, not {tensor.datatype}", "send datatype INT64 or INT32")
    values = _decode(tensor, _INTEGER_DECODERS, "send whole numbers")
    _check_range(tensor, values, bits)
    return values


def _check_range(tensor: Tensor, values: list[int | None], bits: int) -> None:
    limit = 1 << (bits - 1)
    for value in values:
        if value is not None and not -limit <= value < limit:
            raise _unfit(
                tensor, f"{str(value)[:80]} is out of range for {bits} bits", "send a smaller number"
            )


def _decode(tensor: Tensor, decoders: _Decoders, fix: str) -> list[Any]:
    """The values in row-major order; checks them against the shape."""
    flat, nested = decoders
    shape = tensor.shape
    if not 1 <= len(shape) <= 2 or min(shape) < 0:
        raise _unfit(tensor, f"shape is {brief(shape)}", "send shape [rows] or [rows, columns]")
    try:
        values = flat.decode(tensor.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if len(shape) == 1 or not _NESTED.match(tensor.data):
            raise _unfit(tensor, _place(error), fix) from error
        try:
            rows = nested.decode(tensor.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as nested_error:
            raise _unfit(tensor, _place(nested_error), fix) from nested_error
        if any(len(row) != shape[1] for row in rows):
            raise _unfit(
                tensor, f"a row has not {shape[1]} values as shape {shape} says", "make them agree"
            ) from None
        values = [value for row in rows for value in row]
    size = shape[0] if len(shape) == 1 else shape[0] * shape[1]
    if len(values) != size:
        raise _unfit(tensor, f"shape is {shape} but data has {len(values)} values", "make them agree")
    return values


def brief(shape: list[int]) -> str:
    """A shape for an error, which must not send a whole body back."""
    text = str(shape[:8])
    return text if len(shape) <= 8 and len(text) <= 80 else f"{text[:80]}…"


def _place(error: Exception) -> str:
    """The decoder's message with its path (`$[3]`) read as a place in data."""
    return str(error).replace("`$", "`data")


def _unfit(tensor: Tensor, what: str, fix: str) -> RequestError:
    return RequestError(what, where=f"input {tensor.name[:80]!r}", fix=fix)
