from __future__ import annotations

from typing import Any

import pytest

from windtunnel.airflow.ending import Ending, Failure
from windtunnel.errors import DataError, StoreError
from windtunnel.spec.failures import Reason

DONE = {"outputs": {}, "facts": {}, "cached": False}


def failure(code: int, **known: Any) -> Failure:
    found = Ending(stage="train", stage_class="small", code=code, **known).failure
    assert found is not None
    return found


def test_a_result_and_code_0_are_no_failure() -> None:
    assert Ending(stage="train", stage_class="small", code=0, answer=DONE).failure is None


@pytest.mark.parametrize("code", [-9, 137, 1])
def test_running_out_of_memory_is_named_with_the_limit_and_the_way_out(code: int) -> None:
    found = failure(code, oom_kills=1, memory_limit=512 << 20)
    assert found.reason is Reason.OUT_OF_MEMORY
    assert found.message == (
        "out_of_memory: train used its limit of 512 MiB; choose a class larger than 'small' in "
        "lifecycle.yaml stages.train.class"
    )


def test_a_kill_without_want_of_memory_is_not_called_one() -> None:
    assert "not for want of memory" in failure(-9).message
    assert "not for want of memory" in failure(137).message


def test_who_hangs_after_a_kill_for_memory_until_its_time_is_up_ran_out_of_memory() -> None:
    assert failure(143, timed_out="30 min", stopped=True, oom_kills=1).reason is Reason.OUT_OF_MEMORY


def test_a_time_limit_is_named() -> None:
    found = failure(143, timed_out="30 min", stopped=True)
    assert found.reason is Reason.TIMEOUT
    assert found.message.startswith("timeout: train ran longer than 30 min; give it more time in")
    assert not found.permanent


def test_an_error_of_ours_says_what_where_and_how_and_decides_over_the_retry() -> None:
    error = DataError("no column late", where="x.parquet", fix="add it").to_json()
    permanent = failure(2, answer={"error": {**error, "reason": "data_error"}})
    assert permanent.message == "data_error: train: x.parquet: no column late; add it"
    assert permanent.permanent
    error = StoreError("no answer").to_json()
    temporary = failure(75, answer={"error": {**error, "reason": "platform_error"}})
    assert temporary.message == "platform_error: train: StoreError: no answer"
    assert not temporary.permanent


def test_the_users_exception_comes_with_its_place_and_last_lines() -> None:
    error = {
        "kind": "KeyError",
        "what": "KeyError: 'late'",
        "where": "train.py:7",
        "fix": "",
        "permanent": True,
        "reason": "user_exception",
    }
    found = failure(1, answer={"error": error}, tail=["a", "", "    x['late']", "KeyError: 'late'"])
    assert found.message.startswith(
        "user_exception: train raised KeyError: 'late', at train.py:7; its last lines:\n"
    )
    assert found.message.endswith("KeyError: 'late'")
    assert not found.permanent


def test_a_stage_image_that_gives_no_reason_is_not_guessed_at() -> None:
    assert failure(75, answer={"error": StoreError("no answer").to_json()}).reason is Reason.UNKNOWN


def test_a_crash_in_native_code_is_named() -> None:
    assert failure(-11).reason is Reason.CRASHED
    assert "crashed in native code" in failure(-11, tail=["Fatal Python error"]).message
    assert "Fatal Python error" in failure(-11, tail=["Fatal Python error"]).message


def test_a_stage_that_was_told_to_stop_is_not_blamed() -> None:
    assert failure(143, stopped=True).message.startswith("stopped: train was stopped")
    assert failure(143).reason is Reason.STOPPED


def test_a_success_without_a_result_is_none() -> None:
    assert failure(0).message == "crashed: train ended without writing a result"
    assert failure(0, answer={"error": {}}).message == "crashed: train ended without writing a result"


def test_an_unknown_signal_or_code_is_still_told() -> None:
    assert "exit code 42" in failure(42).message
    assert "SIGUSR1" in failure(-10).message
