"""Open Inference Protocol v2 on the wire: what callers send and get.

A request is JSON. By the binary-data extension the header `Inference-Header-Content-Length` says how long the
JSON is, and raw tensors follow it, in the order of the inputs whose parameters have a `binary_data_size`; an
answer does the same where it is asked for. What is in a tensor is read by `tensors`.
"""

from __future__ import annotations

from datetime import MAXYEAR, datetime
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from windtunnel.errors import RequestError

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of one request."""
MAX_ROWS: Final = 10_000
"""Rows of one request; larger batches belong to batch scoring."""
MAX_TEXT: Final = 1000
"""Characters of an id, of a key, of one text in a tensor: they are sent back, looked up and logged."""
EXTENSIONS: Final = ("binary_tensor_data",)
"""Of the protocol, that this server speaks."""

ShortText = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class TensorParameters(msgspec.Struct):
    """What a caller may say beside a tensor; what is not listed here is accepted and has no effect."""

    binary_data_size: int | None = None
    """Bytes of its data in the request's binary part."""
    shared_memory_region: msgspec.Raw = msgspec.Raw()
    """Data that a Triton server would find elsewhere: refused."""


class Tensor(msgspec.Struct):
    """An input as sent; its data stays undecoded until the datatype says how to read it."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: TensorParameters | None = None

    @property
    def nbytes(self) -> int:
        """Of its data as sent."""
        return len(self.data)

    def apart(self) -> Tensor:
        """The same, which holds nothing of the body but its data."""
        return msgspec.structs.replace(self, data=self.data.copy())


class BinaryTensor(Tensor, kw_only=True):
    """An input whose data are bytes in the request's binary part."""

    raw: memoryview
    nan_is_missing: bool
    """NaN stands for a missing number; else it is refused."""

    @property
    def nbytes(self) -> int:
        return len(self.raw)

    def apart(self) -> Tensor:
        return msgspec.structs.replace(self, raw=memoryview(bytes(self.raw)))


class OutputParameters(msgspec.Struct):
    """How a caller wants an output."""

    binary_data: bool | None = None
    """Raw, whatever the request's `binary_data_output` says."""
    classification: msgspec.Raw = msgspec.Raw()
    shared_memory_region: msgspec.Raw = msgspec.Raw()


class RequestedOutput(msgspec.Struct):
    """An output that a caller asks for."""

    name: str
    parameters: OutputParameters | None = None

    @property
    def said(self) -> OutputParameters:
        """Its parameters; nothing is said by none, or null."""
        return self.parameters or _NOTHING_OF_OUTPUT


_NOTHING_OF_OUTPUT: Final = OutputParameters()


class Parameters(msgspec.Struct):
    """What a caller may say beside the inputs; what is not listed here is accepted and has no effect."""

    event_timestamp: datetime | None = None
    """When the asked-for thing happens: the age of online features counts back from here. Default: now."""
    key: ShortText | int | None = None
    """Requests of equal keys are answered by the same version while a challenger has a share of them.
    Default: the entity that is asked for."""
    binary_data_output: bool | None = None
    """The answer's tensors are raw."""
    nan_is_missing: bool | None = None
    """NaN in a binary tensor stands for a missing number, as null does in JSON; else it is refused."""


_NOTHING: Final = Parameters()


class InferRequest(msgspec.Struct):
    """Body of an infer call. What may be left out may be null: typed languages write it so."""

    inputs: list[Tensor]
    id: ShortText | None = None
    parameters: Parameters | None = None
    outputs: list[RequestedOutput] | None = None
    """Those that are wanted; all if there is none."""

    @property
    def said(self) -> Parameters:
        """Its parameters; nothing is said by none, or null."""
        return self.parameters or _NOTHING

    def event_time(self) -> float | None:
        """Seconds since 1970, or None for now. Raises RequestError."""
        moment = self.said.event_timestamp
        if moment is None:
            return None
        seconds = seconds_of(moment)
        if seconds is None:
            what, fix = "has no time zone", "end it with Z or an offset such as +01:00"
            if moment.tzinfo is not None:
                what, fix = "is too far away", "send a moment of the years 2 to 9998"
            raise RequestError(f"{moment.isoformat()} {what}", where="parameter 'event_timestamp'", fix=fix)
        return seconds

    def check_outputs(self, name: str) -> None:
        """Raises RequestError unless the model, whose only output that is, can give what is asked for."""
        outputs = self.outputs or ()
        if len(outputs) > 1:
            raise RequestError(
                f"{len(outputs)} outputs are asked for",
                where="outputs",
                fix=f"the model has one: {name!r}",
            )
        for output in outputs:
            where = f"output {output.name[:80]!r}"
            if output.name != name:
                raise RequestError("the model has no such output", where=where, fix=f"ask for {name!r}")
            if output.said.classification:
                raise RequestError("classification is not supported", where=where, fix="ask for the numbers")
            if output.said.shared_memory_region:
                raise RequestError("shared memory is not supported", where=where, fix="take it in the answer")

    def apart(self, *, inputs: bool) -> InferRequest:
        """The same, for keeping: it holds nothing of the body that it came in but, where they are wanted, its
        inputs. As it was read each of its tensors keeps the whole body, blanks and all."""
        kept = [tensor.apart() for tensor in self.inputs] if inputs else []
        return InferRequest(kept, self.id, self.parameters, self.outputs)

    def wants_binary(self) -> bool:
        """Whether the answer's tensor is to be raw."""
        if self.outputs and (wanted := self.outputs[0].said.binary_data) is not None:
            return wanted
        return bool(self.said.binary_data_output)


class OutputTensor(msgspec.Struct):
    """One answer per row."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class _BinaryOutput(msgspec.Struct):
    """The same, its data in the answer's binary part."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int]


class InferResponse(msgspec.Struct, omit_defaults=True):
    """Body of the answer."""

    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]
    id: str | None = None


_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(InferRequest)

encode = _encoder.encode


def encode_binary(response: InferResponse) -> tuple[bytes, int]:
    """The answer with raw tensors, and how many bytes of it are JSON."""
    parts: list[bytes] = []
    outputs: list[_BinaryOutput] = []
    for output in response.outputs:
        raw = np.array(output.data, "<f8").tobytes()
        parts.append(raw)
        outputs.append(
            _BinaryOutput(output.name, output.shape, output.datatype, {"binary_data_size": len(raw)})
        )
    head = encode(msgspec.structs.replace(response, outputs=outputs))
    return b"".join((head, *parts)), len(head)


def seconds_of(moment: datetime) -> float | None:
    """Seconds since 1970; None for what is no moment that readers of the prediction log could read: without a
    time zone, or in a year that in UTC may be one that Python has not."""
    if moment.tzinfo is None or not 1 < moment.year < MAXYEAR:
        return None
    return moment.timestamp()


def error_body(message: str) -> bytes:
    """The protocol's error body."""
    return encode({"error": message})


def parse(body: bytes, json_length: int | None = None) -> InferRequest:
    """The request in a body, of which `json_length` bytes are JSON (None: all of it, and no binary part).
    Raises RequestError that names the place of what is wrong."""
    if json_length is None:
        return _decode(body)
    if json_length > len(body):
        raise RequestError(
            f"it says {json_length}, but the body has {len(body)} bytes",
            where="header Inference-Header-Content-Length",
            fix="send the bytes of the JSON before the binary part",
        )
    request = _decode(body[:json_length])
    _attach(request, memoryview(body)[json_length:])
    return request


def _decode(body: bytes) -> InferRequest:
    try:
        if not body.isascii():
            # what has no effect is skipped unread
            str(body, "utf-8")
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


def _attach(request: InferRequest, rest: memoryview) -> None:
    """Give each binary tensor its bytes, in the order of the inputs. Raises RequestError."""
    at = 0
    for position, tensor in enumerate(request.inputs):
        parameters = tensor.parameters
        if parameters is None or parameters.binary_data_size is None:
            continue
        size, where = parameters.binary_data_size, f"input {tensor.name[:80]!r}"
        if tensor.data:
            raise RequestError("it has both data and binary_data_size", where=where, fix="send one of them")
        if not 0 <= size <= len(rest) - at:
            raise RequestError(
                f"binary_data_size is {str(size)[:80]}, but {len(rest) - at} bytes are left of the body",
                where=where,
                fix="make them agree",
            )
        request.inputs[position] = BinaryTensor(
            tensor.name,
            tensor.shape,
            tensor.datatype,
            parameters=parameters,
            raw=rest[at : at + size],
            nan_is_missing=bool(request.said.nan_is_missing),
        )
        at += size
    if at != len(rest):
        raise RequestError(
            f"{len(rest) - at} bytes behind the JSON belong to no input",
            where="body",
            fix="give each binary input its binary_data_size",
        )
