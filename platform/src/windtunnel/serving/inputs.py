"""From named tensors to the model's input: which of the three forms a request has, and what is wrong with it.

A caller sends either one tensor `features` of shape [rows, features], or one tensor per feature, or the
entity's join keys with the request-time features (the rest is read from the online store). A missing number
(null) becomes NaN and is counted; NaN and infinity themselves have no JSON, and in raw tensors are refused.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.errors import PermanentError, RequestError
from windtunnel.serving import tensors
from windtunnel.serving.protocol import MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from windtunnel.serving.protocol import InferRequest, Tensor
    from windtunnel.serving.tensors import FloatArray

MATRIX = "features"
REQUEST = "request"
"""Source of a feature that callers send themselves."""

_KEY_TYPES = ("STRING", "INT64", "INT32")
_VALUE_BYTES = 80
"""Of a Python object, beside the characters of a text."""
_NAMED_UNKNOWN = 10
"""Unknown inputs that an error names."""


class Batch(NamedTuple):
    """Rows to answer."""

    matrix: FloatArray
    """[rows, features], in the model's order; NaN where missing or still to be read online."""
    entities: Mapping[str, Sequence[str | int]] | None = None
    """Join key → one value per row when features are to be read from the online store."""

    @property
    def nbytes(self) -> int:
        """What it takes, at most."""
        columns = self.entities.values() if self.entities else ()
        return self.matrix.nbytes + sum(
            _VALUE_BYTES * len(column) + sum(4 * len(value) for value in column if isinstance(value, str))
            for column in columns
        )


class InputPlan:
    """How one model's requests become its input.

    `features` maps each feature, in the model's order, to its source: `<view>:<feature>` or `request`;
    `join_keys` maps each join key to its Feast type. Raises PermanentError for a type that callers cannot
    send.
    """

    def __init__(self, features: Mapping[str, str], join_keys: Mapping[str, str]) -> None:
        for key, kind in join_keys.items():
            if kind not in _KEY_TYPES:
                raise PermanentError(
                    f"join key {key!r} has type {kind}", where="bundle", fix=f"use {', '.join(_KEY_TYPES)}"
                )
        self.features = tuple(features)
        self.join_keys = dict(join_keys)
        self._columns = {name: position for position, name in enumerate(features)}
        self.asked = tuple(name for name, source in features.items() if source == REQUEST)
        """Features that callers send even when they ask by entity."""
        self._request = frozenset(self.asked)
        self._entity_inputs = self._request | join_keys.keys()
        by_entity = ", ".join([*join_keys, *sorted(self._request)])
        choice = f", or by entity: {by_entity}" if join_keys else ""
        self._forms = f"send one tensor {MATRIX!r}, or one per feature{choice}"

    def read(self, request: InferRequest) -> Batch:
        """Raises RequestError when the inputs are not one of the three forms, or don't agree on the rows."""
        inputs = {tensor.name: tensor for tensor in request.inputs}
        if len(inputs) != len(request.inputs):
            raise RequestError("two inputs have the same name", where="inputs", fix="send each once")
        if MATRIX in inputs and MATRIX not in self._columns:
            if len(inputs) > 1:
                _check_names(inputs, {MATRIX}, f"{MATRIX!r} is the whole input")
            return Batch(self._matrix(inputs[MATRIX]))
        if not inputs.keys().isdisjoint(self.join_keys):
            _check_names(inputs, self._entity_inputs, "asked by entity")
            return self._by_entity(inputs)
        _check_names(inputs, self._columns.keys(), self._forms)
        return Batch(self._by_column(inputs, self._columns.keys(), _rows(request.inputs[0])))

    def describe(self) -> list[dict[str, Any]]:
        """The inputs for model metadata; shapes have -1 for the rows."""
        columns = [
            {
                "name": name,
                "datatype": "FP64",
                "shape": [-1],
                "parameters": {"source": REQUEST if name in self._request else "online"},
            }
            for name in self.features
        ]
        keys = [
            {
                "name": name,
                "datatype": "BYTES" if kind == "STRING" else kind,
                "shape": [-1],
                "parameters": {"join_key": True},
            }
            for name, kind in self.join_keys.items()
        ]
        return [{"name": MATRIX, "datatype": "FP64", "shape": [-1, len(self.features)]}, *columns, *keys]

    def _matrix(self, tensor: Tensor) -> FloatArray:
        if len(tensor.shape) != 2 or tensor.shape[1] != len(self.features):
            raise RequestError(
                f"shape is {tensors.brief(tensor.shape)}, but the model has {len(self.features)} features",
                where=f"input {MATRIX!r}",
                fix=f"send shape [rows, {len(self.features)}]: {', '.join(self.features)}",
            )
        _rows(tensor)
        return tensors.numbers(tensor)

    def _by_column(self, inputs: Mapping[str, Tensor], names: Iterable[str], rows: int) -> FloatArray:
        matrix = np.full((rows, len(self.features)), np.nan)
        for name in names:
            tensor = inputs[name]
            _check_column(tensor, rows)
            column = tensors.numbers(tensor)
            matrix[:, self._columns[name]] = column if column.ndim == 1 else column[:, 0]
        return matrix

    def _by_entity(self, inputs: Mapping[str, Tensor]) -> Batch:
        rows = _rows(next(iter(inputs.values())))
        entities: dict[str, Sequence[str | int]] = {}
        for name, kind in self.join_keys.items():
            _check_column(inputs[name], rows)
            entities[name] = (
                tensors.strings(inputs[name]) if kind == "STRING" else tensors.integers(inputs[name], kind)
            )
        return Batch(self._by_column(inputs, self._request, rows), entities)


def _rows(tensor: Tensor) -> int:
    """The tensor's rows. Raises RequestError for none or too many."""
    rows = tensor.shape[0] if tensor.shape else 0
    if not 1 <= rows <= MAX_ROWS:
        raise RequestError(
            f"shape is {tensors.brief(tensor.shape)}",
            where=f"input {tensor.name[:80]!r}",
            fix=f"send 1 to {MAX_ROWS} rows in a request",
        )
    return rows


def _check_column(tensor: Tensor, rows: int) -> None:
    if tensor.shape not in ([rows], [rows, 1]):
        raise RequestError(
            f"shape is {tensors.brief(tensor.shape)}, but the first input has {rows} rows",
            where=f"input {tensor.name[:80]!r}",
            fix=f"send shape [{rows}] or [{rows}, 1]",
        )


def _check_names(inputs: Mapping[str, Tensor], wanted: Iterable[str], form: str) -> None:
    wanted = set(wanted)
    if inputs.keys() == wanted:
        return
    problems = []
    if missing := sorted(wanted - inputs.keys()):
        problems.append(f"missing: {', '.join(missing)}")
    # Looking for the nearest name is slow: a body full of unknown names must not hold up everybody else.
    for name in sorted(inputs.keys() - wanted)[:_NAMED_UNKNOWN]:
        near = difflib.get_close_matches(name[:80], wanted, 1)
        problems.append(f"unknown: {name[:80]!r}" + (f" (is it {near[0]}?)" if near else ""))
    raise RequestError("; ".join(problems), where="inputs", fix=form)
