from __future__ import annotations

import pickle

import pytest

from windtunnel import errors
from windtunnel.errors import DataError, SpecError, StoreError, WindtunnelError


def test_an_error_says_where_what_and_how_to_mend_it() -> None:
    error = DataError("column 'late' is missing", where="orders/2013-01-01", fix="add it to entity_rows")
    assert str(error) == "orders/2013-01-01: column 'late' is missing; add it to entity_rows"


@pytest.mark.parametrize(
    "error", [DataError("a", where="b", fix="c"), StoreError("a"), SpecError("a", fix="c")]
)
def test_an_error_survives_json_and_pickle(error: WindtunnelError) -> None:
    for copy in (errors.from_json(error.to_json()), pickle.loads(pickle.dumps(error))):
        assert type(copy) is type(error)
        assert str(copy) == str(error)


def test_an_unknown_kind_keeps_whether_a_retry_may_help() -> None:
    unknown = {"kind": "ZeroDivisionError", "what": "division by zero", "permanent": False}
    assert isinstance(errors.from_json(unknown), errors.TemporaryError)
    assert isinstance(errors.from_json({**unknown, "permanent": True}), errors.PermanentError)


def test_exit_codes_tell_permanent_from_temporary() -> None:
    assert errors.exit_code(DataError("x")) == 2
    assert errors.exit_code(StoreError("x")) == 75


def test_one_problem_is_its_own_error_and_many_are_listed() -> None:
    one, two = SpecError("one", where="a:1"), SpecError("two", where="a:2")
    assert SpecError.of([one]) is one
    assert str(SpecError.of([one, two])) == "a:1: one\na:2: two"
