"""What a request is about: a moment that the readers of the prediction log can read."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from windtunnel.errors import RequestError
from windtunnel.serving.inputs import Batch
from windtunnel.serving.protocol import InferRequest, encode, parse
from windtunnel.serving.question import Question


def asked(moment: str) -> InferRequest:
    return parse(encode({"inputs": [], "parameters": {"event_timestamp": moment}}))


def logged(request: InferRequest) -> float | None:
    return Question(request, Batch(np.zeros((1, 1))), "an-id", None, 0.0).event_time()


@pytest.mark.parametrize(
    "moment", ["2013-02-11T18:00:00Z", "0002-01-01T00:00:00+23:59", "9998-12-31T23:59:59.999999-23:59"]
)
def test_a_moment_is_logged_as_one_that_can_be_read(moment: str) -> None:
    seconds = logged(asked(moment))
    assert seconds is not None
    assert datetime.fromtimestamp(round(seconds, 3), UTC)
    assert asked(moment).event_time() == seconds


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        ("2013-02-11T18:00:00", "has no time zone"),
        # in UTC they lie where no datetime of Python's, and so no reader of the log, can be
        ("9999-12-31T23:59:59-12:00", "too far away"),
        ("9999-12-31T23:59:59.999999Z", "too far away"),
        ("0001-01-01T00:00:00+12:00", "too far away"),
    ],
)
def test_what_is_no_moment_is_refused_where_it_matters_and_never_logged(moment: str, why: str) -> None:
    assert logged(asked(moment)) is None
    with pytest.raises(RequestError, match=why):
        asked(moment).event_time()
