"""Challengers that misbehave in every way that is known, under load: each request is answered, in time, and
each fault is counted against the challenger."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from canary import ROW, Asked, Canary, callers, children_of, is_alive, wait_for_end
from misbehaving import KINDS, make_misbehaving
from served_bundle import answers, make_version, matrix_request
from waiting import HANG, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOUD_ROW = [0.1, 2.0, 0.3, 4.0, 5e6]
"""Drives a misbehaving model mad, and the champion to the answer 1; a slow model takes most of a minute."""
SLOW_ROW = [0.1, 2.0, 0.3, 4.0, 2e5]
"""Makes a slow model take about 0.5 s."""
PATIENCE = 30.0
"""Seconds: who waited for a challenger that hangs would take longer, however busy the machine is."""
CAP_MIB = 300
ENOUGH = 50
"""Requests, at least, of which each has its answer."""


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    with Canary(tmp_path, "--challenger-memory-mib", str(CAP_MIB)).running() as canary:
        yield canary


def every_fourth(row: list[float]) -> Callable[[int], dict[str, Any]]:
    """Requests of two rows, of which the second is this one every fourth time."""
    return lambda number: matrix_request(ROW, row if number % 4 == 0 else ROW, key=number)


def assert_answered(asked: list[Asked]) -> None:
    assert len(asked) > ENOUGH
    assert {one.status for one in asked} == {200}
    for one in asked:
        data = one.answer["outputs"][0]["data"]
        assert data[0] == pytest.approx(float(answers([ROW], 1.0)[0]), abs=1e-6)
    assert max(one.seconds for one in asked) < PATIENCE


REASONS = {
    "raises": ("error",),
    "wrong_length": ("error",),
    "not_a_number": ("not_a_number",),
    "memory": ("error", "died"),
    "slow": ("timeout", "overloaded"),
}


def faults(canary: Canary, kind: str, mode: str) -> float:
    return sum(canary.metric("challenger_faults_total", mode=mode, reason=reason) for reason in REASONS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_it_does_users_get_the_champions_answer(canary: Canary, kind: str) -> None:
    canary.want(make_misbehaving(canary.store, "2", kind), traffic=100)
    canary.reach("Ready")
    with callers(canary.process.port, every_fourth(LOUD_ROW)) as asked:
        until(lambda: len(asked) > ENOUGH and faults(canary, kind, "routed"), lambda: canary.process.log)
    assert_answered(asked)
    assert {one.role for one in asked} <= {"challenger", "fallback"}
    mad = [one for one in asked if one.answer["outputs"][0]["data"][1] == 1.0]
    assert {one.role for one in mad} == {"fallback"}
    assert {one.answer["parameters"]["role"] for one in mad} == {"champion"}
    fallen_back = sum(one.role == "fallback" for one in asked)
    assert canary.metric("requests_total", role="fallback", version="1", code="200") == fallen_back
    assert canary.metric("challenger_faults_total", mode="routed") == fallen_back
    assert canary.metric("challenger_requests_total", mode="routed") == len(asked)
    assert faults(canary, kind, "routed") > 0
    assert canary.ask().status == 200


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_it_does_in_shadow_users_never_meet_it(canary: Canary, kind: str) -> None:
    canary.want(make_misbehaving(canary.store, "2", kind), shadow=True)
    canary.reach("Ready")
    with callers(canary.process.port, every_fourth(SLOW_ROW if kind == "slow" else LOUD_ROW)) as asked:
        until(lambda: len(asked) > ENOUGH and is_seen(canary, kind), lambda: canary.process.log)
    assert_answered(asked)
    assert {one.role for one in asked} == {"champion"}
    assert canary.metric("requests_total", code="200", role="champion") == len(asked)
    assert canary.metric("challenger_requests_total", mode="routed") == 0


def is_seen(canary: Canary, kind: str) -> bool:
    """What is slow is late for nobody; the guard sees it in the time that it takes."""
    if kind == "slow":
        return canary.metric("predict_seconds_sum", role="challenger") > 0.1
    return faults(canary, kind, "shadow") > 0


def test_copies_beyond_what_it_can_score_are_dropped_and_counted(canary: Canary) -> None:
    canary.want(make_misbehaving(canary.store, "2", "slow"), shadow=True)
    canary.reach("Ready")
    slow = matrix_request([*ROW[:4], 5e4])
    with callers(canary.process.port, lambda _: slow, pause=0.0) as asked:
        until(lambda: canary.metric("shadow_drops_total") >= 50)
    assert {one.status for one in asked} == {200}
    scored = canary.metric("challenger_requests_total", mode="shadow")
    assert scored + canary.metric("shadow_drops_total") <= len(asked)
    assert canary.faults() == 0


def test_memory_over_its_cap_is_refused_to_it_and_the_process_stays_small(canary: Canary) -> None:
    canary.want(make_misbehaving(canary.store, "2", "memory"), traffic=100)
    canary.reach("Ready")
    # it keeps what it got: each of these takes more, until one is over the cap
    for kilobytes in (1e3, 1e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7):
        asked = canary.ask([*ROW[:4], kilobytes], key=1)
        assert asked.status == 200
        assert asked.answer["outputs"][0]["data"] == [pytest.approx(1.0)]
    assert canary.metric("challenger_faults_total", mode="routed") > 0
    for child in children_of(canary.process.process.pid):
        assert _resident(child) < CAP_MIB * 1.3


def _resident(pid: int) -> float:
    """MiB."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in status if line.startswith("VmRSS"))
    return int(kilobytes) / 1024


def kill(canary: Canary, asked: list[Asked]) -> None:
    """Once it answers."""
    until(lambda: asked and asked[-1].role == "challenger")
    wait_for_end(canary.signal_child(signal.SIGKILL))


def wait_for_restarts(canary: Canary, number: int) -> None:
    until(lambda: canary.metric("challenger_restarts_total") == number)
    canary.reach("Ready")


def test_killed_under_load_it_is_started_again_then_quarantined(canary: Canary) -> None:
    second = make_version(canary.store, "2", 1.0)
    canary.want(second, traffic=50, shadow=True)
    canary.reach("Ready")
    with callers(canary.process.port, lambda number: matrix_request(ROW, key=number)) as asked:
        for restarts in (1, 2):
            kill(canary, asked)
            wait_for_restarts(canary, restarts)
        kill(canary, asked)
        said = canary.reach("Quarantined")
        quarantined = len(asked)
        until(lambda: len(asked) > quarantined + ENOUGH)
    assert_answered(asked)
    assert "died 3 times" in said["message"]
    assert "signal 9" in said["message"]
    assert {one.role for one in asked} == {"champion", "challenger", "fallback"}
    assert canary.metric("challenger_faults_total", mode="routed", reason="died") > 0
    assert canary.metric("challenger_restarts_total", version="2") == 2
    assert canary.metric("challenger_state", state="Quarantined") == 1
    assert children_of(canary.process.process.pid) == []


def test_a_quarantine_ends_when_another_version_is_named(canary: Canary) -> None:
    second, third = (make_version(canary.store, name, 1.0 / int(name)) for name in ("2", "3"))
    canary.want(second, traffic=100)
    for _ in range(3):
        canary.reach("Ready")
        wait_for_end(canary.signal_child(signal.SIGSEGV))
    canary.reach("Quarantined")
    # neither a change of traffic nor taking it out and putting it back is another version
    canary.want(second, traffic=50)
    canary.settle()
    canary.want()
    canary.settle()
    canary.want(second, traffic=100)
    canary.settle()
    assert canary.reach("Quarantined")["message"]
    time.sleep(0.3)  # in which it would be started
    assert children_of(canary.process.process.pid) == []
    assert canary.ask().status == 200
    canary.want(third, traffic=100)
    canary.settle()
    canary.reach("Ready")
    canary.want(second, traffic=100)
    canary.settle()
    canary.reach("Ready")


def test_hung_it_costs_each_request_its_time_limit_at_most_and_is_ended(canary: Canary) -> None:
    canary.want(make_version(canary.store, "2", 1.0), traffic=50, shadow=True)
    canary.reach("Ready")
    with callers(canary.process.port, lambda number: matrix_request(ROW, key=number)) as asked:
        until(lambda: asked and asked[-1].role == "challenger")
        wait_for_end(canary.signal_child(signal.SIGSTOP))
        wait_for_restarts(canary, 1)
        until(lambda: len(asked) > ENOUGH)
    assert_answered(asked)
    assert canary.metric("challenger_faults_total", mode="routed", reason="timeout") > 0
    assert canary.metric("challenger_faults_total", mode="routed", reason="overloaded") > 0
    assert canary.metric("challenger_restarts_total") == 1


def test_one_that_is_only_slow_is_waited_for_and_not_ended(canary: Canary) -> None:
    canary.want(make_misbehaving(canary.store, "2", "slow"), traffic=100)
    canary.reach("Ready")
    child = canary.child()
    asked = canary.ask(SLOW_ROW, key=1)
    assert (asked.status, asked.role) == (200, "fallback")
    until(lambda: canary.ask(key=2).role == "challenger")
    assert is_alive(child)
    assert canary.metric("challenger_restarts_total") == 0


def test_where_the_champion_can_do_no_better_the_challenger_is_not_blamed(canary: Canary) -> None:
    """A feature is missing, and neither side can do without: the caller is told."""
    canary.promote(make_misbehaving(canary.store, "1b", "not_a_number"))
    canary.settle()
    canary.want(make_misbehaving(canary.store, "2", "not_a_number"), traffic=100)
    canary.reach("Ready")
    status, answer = canary.process.infer(matrix_request([None, *LOUD_ROW[1:]]))
    assert status == 400
    assert "features are missing" in answer["error"]
    assert canary.metric("challenger_faults_total") == 0


def test_a_load_that_takes_too_much_memory_is_no_challenger(tmp_path: Path) -> None:
    with Canary(tmp_path, "--challenger-memory-mib", "20").running() as canary:
        canary.want(make_version(canary.store, "2", 1.0), traffic=100)
        canary.settle()
        deadline = time.monotonic() + HANG
        while (said := canary.said()["challenger"])["state"] not in ("Quarantined", "Rejected"):
            assert time.monotonic() < deadline, said
            assert canary.ask().status == 200
        assert said["message"]
        assert {canary.ask(key=key).role for key in range(10)} == {"champion"}
        assert children_of(canary.process.process.pid) == []
