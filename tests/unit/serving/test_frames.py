"""The wire between the serving process and its challenger's: what goes in comes out, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.serving import frames
from windtunnel.serving.frames import Answer, FrameError, FrameReader

MATRICES = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 4)).flatmap(
        lambda shape: st.lists(st.floats(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
            lambda values: np.array(values).reshape(shape)
        )
    ),
    max_size=4,
)


@given(MATRICES)
def test_matrices(matrices: list[frames.FloatArray]) -> None:
    got = list(frames.unpack_matrices(frames.pack_matrices(matrices)))
    assert len(got) == len(matrices)
    for one, other in zip(got, matrices, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.floats(0, 1e6), st.lists(st.floats()), st.text())
def test_answers(seconds: float, values: list[float], message: str) -> None:
    payload = frames.pack_answer(Answer(seconds, np.array(values))) + frames.pack_answer(
        Answer(seconds, None, message)
    )
    good, bad = frames.unpack_answers(payload)
    assert good.values is not None
    np.testing.assert_array_equal(good.values, values)
    assert bad.values is None
    assert len(bad.message) <= frames.MAX_MESSAGE
    assert (good.seconds, bad.seconds) == (seconds, seconds)


@given(st.binary(max_size=200))
def test_whatever_comes_is_answers_or_an_error(payload: bytes) -> None:
    try:
        answers = frames.unpack_answers(payload)
    except FrameError:
        return
    assert all(0 <= answer.seconds < float("inf") for answer in answers)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=50)), max_size=5), st.data())
def test_frames_come_out_however_they_are_cut(said: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(frames.frame(frames.ANSWERS, number, payload) for number, payload in said)
    reader, got = FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += list(reader.feed(stream[:size]))
        stream = stream[size:]
    assert got == [(frames.ANSWERS, number, payload) for number, payload in said]


@given(st.binary(min_size=frames.HEADER.size, max_size=300))
def test_garbage_is_an_error_or_a_small_frame(stream: bytes) -> None:
    try:
        for kind, _, payload in FrameReader().feed(stream):
            assert kind in (frames.ANSWERS, frames.READY, frames.FAILED)
            assert len(payload) <= len(stream)
    except FrameError:
        pass


def test_a_frame_that_is_too_long_is_refused_before_it_comes() -> None:
    head = frames.HEADER.pack(frames.MAX_REPLY + 1, frames.ANSWERS, 1)
    with pytest.raises(FrameError, match="none of ours"):
        list(FrameReader().feed(head))
