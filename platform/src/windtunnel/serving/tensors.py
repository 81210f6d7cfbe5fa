"""The values of a tensor, strictly: what is not of the declared datatype and shape is refused, never coerced.

A tensor's data comes as JSON, flat or nested, or as the raw bytes of the binary-data extension: row-major,
little-endian, one byte for a BOOL, and for BYTES each text behind its length in four bytes. JSON has no NaN:
`null` is how a caller says that a number is missing.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from windtunnel.errors import RequestError
from windtunnel.serving.protocol import MAX_TEXT, BinaryTensor, ShortText

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from windtunnel.serving.protocol import Tensor

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_Decoders = tuple[msgspec.json.Decoder[list[Any]], msgspec.json.Decoder[list[list[Any]]]]


def _decoders(kind: Any) -> _Decoders:
    return msgspec.json.Decoder(list[kind]), msgspec.json.Decoder(list[list[kind]])


DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "FP64": np.dtype("<f8"),
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "INT64": np.dtype("<i8"),
    "INT32": np.dtype("<i4"),
    "INT16": np.dtype("<i2"),
    "INT8": np.dtype("<i1"),
    "UINT64": np.dtype("<u8"),
    "UINT32": np.dtype("<u4"),
    "UINT16": np.dtype("<u2"),
    "UINT8": np.dtype("<u1"),
    "BOOL": np.dtype("?"),
}
"""The datatypes of numbers, and how their raw bytes are read."""
BINARY_ONLY: Final = "FP16"
"""A datatype that JSON does not carry, by the extension's own rule."""
RANGES: Final[dict[str, tuple[int, int]]] = {
    name: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    for name, dtype in DTYPES.items()
    if dtype.kind in "iu"
}
"""Least and most of each datatype of whole numbers."""
_FLOAT_DECODERS: Final = _decoders(float | None)
_NUMBER_DECODERS: Final = {
    "FP64": _FLOAT_DECODERS,
    "FP32": _FLOAT_DECODERS,
    "BOOL": _decoders(bool | None),
    **dict.fromkeys(RANGES, _decoders(int | None)),
}
_STRING_DECODERS: Final = _decoders(ShortText)
_INTEGER_DECODERS: Final = _decoders(int)
_NESTED: Final = re.compile(rb"\s*\[\s*\[")
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_FP32_MAX: Final = float(np.finfo(np.float32).max)
_LENGTH_BYTES: Final = 4
"""Of the length before each text of a binary BYTES tensor."""


def numbers(tensor: Tensor) -> FloatArray:
    """The tensor's values as float64 in its shape, NaN for a missing one. Raises RequestError."""
    if type(tensor) is BinaryTensor:
        return _raw_numbers(tensor)
    decoders = _NUMBER_DECODERS.get(tensor.datatype)
    if decoders is None:
        raise _no_numbers(tensor)
    values = _decode(tensor, decoders, "send numbers, and null for a missing one")
    if limits := RANGES.get(tensor.datatype):
        _check_range(tensor, values, *limits)
    array = np.array(values, dtype=np.float64)
    if tensor.datatype == "FP32" and np.any(np.abs(array) > _FP32_MAX):
        raise _unfit(tensor, "a number is out of range for FP32", "send it as FP64")
    return array if len(tensor.shape) == 1 else array.reshape(tensor.shape)


def strings(tensor: Tensor) -> list[str]:
    """The values of a BYTES tensor of one column; null is refused. Raises RequestError."""
    if tensor.datatype != "BYTES":
        raise _unfit(tensor, f"this is text, not {tensor.datatype[:80]}", "send datatype BYTES")
    if type(tensor) is not BinaryTensor:
        return _decode(tensor, _STRING_DECODERS, f"send JSON strings of up to {MAX_TEXT} characters")
    size = _size(tensor)
    # a body may hold a million texts: no more are read than it takes to know that there are too many
    texts = list(islice(_raw_texts(tensor), size + 1))
    if len(texts) > size:
        raise _unfit(tensor, f"shape is {brief(tensor.shape)} but there are more texts", "make them agree")
    _check_count(tensor, len(texts))
    if max(map(len, texts)) > MAX_TEXT:
        raise _unfit(tensor, "a text is too long", f"send up to {MAX_TEXT} characters")
    return texts


def integers(tensor: Tensor, datatype: str) -> list[int]:
    """The values of a tensor of one column of any integers, in the range of `datatype`; null is refused.
    Raises RequestError."""
    limits = RANGES.get(tensor.datatype)
    if limits is None:
        raise _unfit(tensor, f"this is an integer, not {tensor.datatype[:80]}", f"send datatype {datatype}")
    if type(tensor) is BinaryTensor:
        values: list[int] = _raw_array(tensor).tolist()
    else:
        values = _decode(tensor, _INTEGER_DECODERS, "send whole numbers")
        _check_range(tensor, values, *limits)
    if tensor.datatype != datatype:
        _check_range(tensor, values, *RANGES[datatype])
    return values


def brief(shape: list[int]) -> str:
    """A shape for an error, which must not send a whole body back."""
    text = str(shape[:8])
    return text if len(shape) <= 8 and len(text) <= 80 else f"{text[:80]}…"


def _raw_numbers(tensor: BinaryTensor) -> FloatArray:
    if tensor.datatype not in DTYPES:
        raise _no_numbers(tensor)
    raw = _raw_array(tensor)
    if raw.dtype == np.bool_ and np.any(raw.view(np.uint8) > 1):
        raise _unfit(tensor, "a BOOL is neither 0 nor 1", "send one byte of 0 or 1 for each value")
    array = raw.astype(np.float64)
    if np.any(np.isinf(array)):
        raise _unfit(tensor, "a number is infinite", "send finite numbers")
    if not tensor.nan_is_missing and np.any(np.isnan(array)):
        raise _unfit(
            tensor,
            "a number is NaN",
            "send finite numbers; where NaN stands for a missing one, say so by the request's parameter "
            "nan_is_missing: true",
        )
    return array.reshape(tensor.shape)


def _raw_array(tensor: BinaryTensor) -> np.ndarray[Any, Any]:
    """The tensor's numbers, flat, a view of the body."""
    size, dtype = _size(tensor), DTYPES[tensor.datatype]
    if size * dtype.itemsize != len(tensor.raw):
        raise _unfit(
            tensor,
            f"binary_data_size is {len(tensor.raw)}, but shape {brief(tensor.shape)} of {tensor.datatype} "
            f"takes {str(size * dtype.itemsize)[:80]} bytes",
            "make them agree",
        )
    return np.frombuffer(tensor.raw, dtype)


def _raw_texts(tensor: BinaryTensor) -> Iterator[str]:
    raw, at = tensor.raw, 0
    fix = "put each text's length before it, in four bytes, little-endian"
    while at < len(raw):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or at > len(raw):
            raise _unfit(tensor, "the binary data ends within a text", fix)
        try:
            yield str(raw[start:at], "utf-8")
        except UnicodeDecodeError as error:
            raise _unfit(tensor, f"a text is not UTF-8: {error.reason}", "encode texts in UTF-8") from error


def _decode(tensor: Tensor, decoders: _Decoders, fix: str) -> list[Any]:
    """The values in JSON, in row-major order; checks them against the shape."""
    flat, nested = decoders
    if tensor.parameters is not None:
        _check_is_json(tensor)
    try:
        values = flat.decode(tensor.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not tensor.data:
            raise _unfit(tensor, "it has no data", fix) from error
        if len(tensor.shape) == 1 or not _NESTED.match(tensor.data):
            raise _unfit(tensor, _place(error), fix) from error
        values = _flattened(tensor, nested, fix)
    shape = tensor.shape
    if len(shape) != 1 or len(values) != shape[0]:
        _check_count(tensor, len(values))
    return values


def _flattened(tensor: Tensor, nested: msgspec.json.Decoder[list[list[Any]]], fix: str) -> list[Any]:
    _size(tensor)
    if _lists(bytes(tensor.data), 1 + tensor.shape[0]) > 1 + tensor.shape[0]:
        # told by a look: a list for each of a million rows takes a second to make
        raise _unfit(
            tensor, f"data has more rows, or deeper ones, than shape {brief(tensor.shape)}", "make them agree"
        )
    try:
        rows = nested.decode(tensor.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unfit(tensor, _place(error), fix) from error
    columns = tensor.shape[1]
    if any(len(row) != columns for row in rows):
        raise _unfit(
            tensor,
            f"a row has not {str(columns)[:80]} values as shape {brief(tensor.shape)} says",
            "make them agree",
        )
    return [value for row in rows for value in row]


def _lists(data: bytes, enough: int) -> int:
    """Lists that begin in JSON; a text may hold brackets, too, so that they are counted only where there are
    more of them."""
    begun = data.count(b"[")
    return begun if begun <= enough else _TEXT.sub(b"", data).count(b"[")


def _size(tensor: Tensor) -> int:
    """Values that the shape says there are."""
    shape = tensor.shape
    if not 1 <= len(shape) <= 2 or min(shape) < 0:
        raise _unfit(tensor, f"shape is {brief(shape)}", "send shape [rows] or [rows, columns]")
    return shape[0] if len(shape) == 1 else shape[0] * shape[1]


def _check_count(tensor: Tensor, values: int) -> None:
    if values != _size(tensor):
        raise _unfit(
            tensor, f"shape is {brief(tensor.shape)} but data has {values} values", "make them agree"
        )


def _check_range(tensor: Tensor, values: Sequence[int | None], least: int, most: int) -> None:
    for value in values:
        if value is not None and not least <= value <= most:
            raise _unfit(
                tensor,
                f"{str(value)[:80]} is out of range, which is {least} to {most}",
                "send numbers within it",
            )


def _check_is_json(tensor: Tensor) -> None:
    """Raises RequestError for a tensor that means its data to be elsewhere than in JSON."""
    parameters = tensor.parameters
    if parameters is None:
        return
    if parameters.shared_memory_region:
        raise _unfit(tensor, "shared memory is not supported", "send the data in the request")
    if parameters.binary_data_size is not None:
        raise _unfit(
            tensor,
            "it has a binary_data_size, but the request has no binary part",
            "send the header Inference-Header-Content-Length: the bytes of the JSON before it",
        )


def _no_numbers(tensor: Tensor) -> RequestError:
    if tensor.datatype == BINARY_ONLY:
        return _unfit(tensor, f"{BINARY_ONLY} cannot be sent as JSON", "send it as binary data, or as FP32")
    return _unfit(tensor, f"datatype {tensor.datatype[:80]!r} holds no numbers", f"use {', '.join(DTYPES)}")


def _place(error: Exception) -> str:
    """The decoder's message with its path (`$[3]`) read as a place in data."""
    return str(error).replace("`$", "`data")


def _unfit(tensor: Tensor, what: str, fix: str) -> RequestError:
    return RequestError(what, where=f"input {tensor.name[:80]!r}", fix=fix)
