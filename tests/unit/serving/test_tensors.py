"""Tensors that hold far more than their shape says are refused without being read to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from windtunnel.errors import RequestError
from windtunnel.serving import tensors
from windtunnel.serving.protocol import BinaryTensor, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator


def text(shape: list[int], data: bytes) -> Tensor:
    return Tensor("carrier", shape, "BYTES", msgspec.Raw(data))


def test_of_a_million_raw_texts_only_a_few_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    whole = tensors._raw_texts

    def counted(tensor: BinaryTensor) -> Iterator[str]:
        nonlocal read
        for one in whole(tensor):
            read += 1
            yield one

    monkeypatch.setattr(tensors, "_raw_texts", counted)
    raw = memoryview(bytes(4 * 1024 * 1024))
    with pytest.raises(RequestError, match="there are more texts"):
        tensors.strings(BinaryTensor("carrier", [2], "BYTES", raw=raw, nan_is_missing=False))
    assert read == 3


@pytest.mark.parametrize("row", [b"[]", b"[[1]]", b'["x"]'])
def test_more_rows_than_the_shape_says_are_not_made_into_lists(row: bytes) -> None:
    with pytest.raises(RequestError, match="more rows, or deeper ones"):
        tensors.strings(text([2, 1], b"[" + b",".join([row] * 100) + b"]"))


def test_brackets_in_texts_begin_no_rows() -> None:
    said = b'[["[[[[\\"["], [" ] [\\\\"]]'
    assert tensors.strings(text([2, 1], said)) == ['[[[["[', " ] [\\"]
