from __future__ import annotations

import runpy
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import (
    ConflictError,
    DataError,
    IntegrityError,
    NotFoundError,
    PermanentError,
    RequestError,
    SpecError,
    StoreError,
)
from windtunnel.spec.failures import Reason, reason_of, recorded_reason

if TYPE_CHECKING:
    from pathlib import Path


def raised_by(directory: Path, code: str) -> BaseException:
    """What code in that directory raises."""
    file = directory / "train.py"
    file.write_text(code)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any
        runpy.run_path(str(file))
    return caught.value


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DataError("no rows"), Reason.DATA_ERROR),
        (SpecError("no such view"), Reason.USER_EXCEPTION),
        (RequestError("no such param"), Reason.USER_EXCEPTION),
        (PermanentError("MLflow refused"), Reason.PLATFORM_ERROR),
        (IntegrityError("another digest"), Reason.PLATFORM_ERROR),
        (ConflictError("somebody was first"), Reason.PLATFORM_ERROR),
        (NotFoundError("no such object"), Reason.PLATFORM_ERROR),
        (StoreError("no answer"), Reason.PLATFORM_ERROR),
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (SystemExit(143), Reason.STOPPED),
        (KeyboardInterrupt(), Reason.STOPPED),
    ],
)
def test_each_kind_of_error_has_its_reason(error: BaseException, reason: Reason, tmp_path: Path) -> None:
    assert reason_of(error, tmp_path) is reason


def test_an_exception_of_the_users_code_is_the_users(tmp_path: Path) -> None:
    assert reason_of(raised_by(tmp_path, "{}['late']"), tmp_path) is Reason.USER_EXCEPTION


def test_what_a_library_raises_for_the_users_code_is_the_users(tmp_path: Path) -> None:
    error = raised_by(tmp_path, "import json\njson.loads('no json')")
    assert reason_of(error, tmp_path) is Reason.USER_EXCEPTION


def test_an_exception_outside_of_the_users_code_is_the_platforms(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert reason_of(raised_by(other, "1 / 0"), tmp_path / "lifecycle") is Reason.PLATFORM_ERROR


def test_a_schema_that_the_users_code_checks_speaks_of_data(tmp_path: Path) -> None:
    error = raised_by(
        tmp_path, "from pandera.errors import SchemaError\nraise SchemaError(None, None, 'late > 1')"
    )
    assert reason_of(error, tmp_path) is Reason.DATA_ERROR


def test_want_of_memory_shows_through_the_error_that_explains_it(tmp_path: Path) -> None:
    error = PermanentError("training ran out of memory")
    error.__cause__ = MemoryError()
    assert reason_of(error, tmp_path) is Reason.OUT_OF_MEMORY


def test_a_record_tells_its_reason() -> None:
    assert recorded_reason({"outcome": "failed", "reason": "evicted"}) is Reason.EVICTED
    assert recorded_reason({"outcome": "success", "reason": ""}) is None


def test_a_record_from_before_there_were_reasons_is_unknown() -> None:
    assert recorded_reason({"outcome": "failed"}) is Reason.UNKNOWN
    assert recorded_reason({"outcome": "failed", "reason": "of_a_later_release"}) is Reason.UNKNOWN
