"""A challenger beside the champion: loaded in a process of its own, given its share, promoted, taken out."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from canary import ROW, Canary, callers, children_of, wait_for_end
from served_bundle import FEATURES, answers, logistic, make_version, matrix_request, tensor, write_version
from waiting import HANG, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from windtunnel.spec.servedmodel import ModelVersion

ENOUGH = 50
"""Requests, at least, of which each has its answer."""

UNHURRIED = ("--drain-seconds", "3")
"""Long enough to be seen draining on a busy machine."""


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    with Canary(tmp_path).running() as canary:
        yield canary


@pytest.fixture
def second(canary: Canary) -> ModelVersion:
    return make_version(canary.store, "2", 0.5)


def test_without_traffic_and_shadow_it_is_loaded_and_idle(canary: Canary, second: ModelVersion) -> None:
    canary.want(second)
    said = canary.reach("Ready")
    assert (said["version"], said["digest"], said["traffic"], said["shadow"]) == (
        "2", second.digest, 0, False,
    )  # fmt: skip
    assert {canary.ask(key=key).role for key in range(20)} == {"champion"}
    assert canary.metric("challenger_requests_total") == 0
    assert canary.metric("challenger_state", version="2", state="Ready") == 1
    assert canary.metric("challenger_state") == 1


def test_its_share_of_the_keys_is_answered_by_it_and_stays_so(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, traffic=30)
    canary.reach("Ready")
    sides = {key: canary.side(key) for key in range(60)}
    assert sides == {key: canary.side(key) for key in range(60)}
    challengers = {key for key, side in sides.items() if side == "2"}
    # the share itself is shown on many keys, in the unit test
    assert 6 <= len(challengers) <= 30
    canary.want(second, traffic=60)
    canary.settle()
    assert challengers < {key for key in range(60) if canary.side(key) == "2"}
    canary.want(second, traffic=30)
    canary.settle()
    assert challengers == {key for key in range(60) if canary.side(key) == "2"}
    assert canary.metric("requests_total", role="challenger", version="2", code="200") >= 3 * len(challengers)
    assert canary.faults() == 0


def test_an_answer_says_who_gave_it(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, traffic=50)
    canary.reach("Ready")
    seen = set()
    for key in range(40):
        asked = canary.ask(key=key)
        version, parameters = asked.answer["model_version"], asked.answer["parameters"]
        assert asked.answer["outputs"][0]["data"] == pytest.approx(
            answers([ROW], {"1": 1.0, "2": 0.5}[version]), abs=1e-6
        )
        assert parameters["role"] == {"1": "champion", "2": "challenger"}[version]
        assert "fallback" not in parameters or version == "1"
        assert parameters["missing_features"] == 0
        seen.add(version)
    assert seen == {"1", "2"}
    assert canary.metric("challenger_requests_total", mode="routed") == canary.metric(
        "requests_total", role="challenger"
    ) + canary.metric("requests_total", role="fallback")
    assert canary.metric("predictions_count") == 40
    assert canary.metric("challenger_seconds_count") >= canary.metric("predictions_count", role="challenger")


def test_a_batch_goes_one_way_and_large_ones_too(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, traffic=100)
    canary.reach("Ready")
    rows = [[row / 1000, 0.0, 0.0, 0.0, 0.1] for row in range(2000)]
    for part in (rows[:1], rows[:256], rows):
        answer = {"parameters": {"fallback": True}}
        while answer["parameters"].get("fallback"):
            status, answer = canary.process.infer(matrix_request(*part))
            assert status == 200
        assert answer["model_version"] == "2"
        assert answer["outputs"][0]["data"] == pytest.approx(answers(part, 0.5).tolist(), abs=1e-6)


def test_who_asks_for_a_version_gets_it(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, traffic=100)
    canary.reach("Ready")
    assert canary.side(1) == "2"
    assert canary.process.infer(matrix_request(ROW), version="1")[1]["model_version"] == "1"
    assert canary.process.infer(matrix_request(ROW), version="2")[0] == 404


def test_shadow_scores_copies_and_answers_nobody(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, shadow=True)
    canary.reach("Ready")
    assert {canary.ask(key=key).role for key in range(50)} == {"champion"}
    until(lambda: canary.metric("predictions_count", role="shadow", version="2") >= 50)
    assert canary.faults() == 0
    assert canary.metric("challenger_requests_total", mode="shadow") == 50
    assert canary.metric("predict_seconds_count", role="challenger", version="2") == 50
    assert canary.metric("predict_seconds_count", role="champion", version="1") == 50
    expected = float(answers([ROW], 0.5)[0])
    assert canary.metric("predictions_sum", role="shadow") == pytest.approx(50 * expected, abs=1e-3)
    canary.want(second)
    canary.settle()
    canary.ask()
    time.sleep(0.1)
    assert canary.metric("challenger_requests_total", mode="shadow") == 50


def test_a_wrong_request_is_the_callers_fault_on_both_sides(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, traffic=100, shadow=True)
    canary.reach("Ready")
    for body in (
        b"{",
        {"inputs": []},
        matrix_request(ROW[:4]),
        {**matrix_request(ROW), "parameters": {"key": []}},
    ):
        status, answer = canary.process.infer(body)
        assert (status, "error" in answer) == (400, True)
    assert canary.metric("challenger_requests_total") == 0


def test_a_promotion_under_load_fails_and_slows_no_request(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, traffic=50)
    canary.reach("Ready")
    child = canary.child()
    with callers(canary.process.port, lambda number: matrix_request(ROW, key=number)) as asked:
        until(lambda: len(asked) > ENOUGH and asked[-1].answer["model_version"] == "2")
        before = len(asked)
        canary.promote(second)
        said = canary.settle()
        settled = len(asked)
        until(lambda: len(asked) > settled + ENOUGH)
    assert (said["champion"], said["challenger"]) == ("2", None)
    wait_for_end(child)
    assert {one.status for one in asked} == {200}
    assert {one.answer["model_version"] for one in asked[settled + 8 :]} == {"2"}
    assert {one.answer["model_version"] for one in asked[:before]} == {"1", "2"}
    assert settled > before, "nobody was answered while the version was loaded"
    assert canary.faults() == 0
    assert canary.metric("challenger_state") == 0


def test_fifty_swaps_of_challengers_and_champions_fail_no_request(canary: Canary) -> None:
    versions = [make_version(canary.store, str(number), 1.0 / number) for number in range(2, 12)]
    with callers(canary.process.port, lambda number: matrix_request(ROW, key=number % 40), 2) as asked:
        for version in versions:
            canary.want(version, traffic=50, shadow=True)
            canary.reach("Ready")
            canary.want(version, traffic=100)
            canary.settle()
            canary.promote(version)
            canary.settle()
            until(lambda: asked[-1].answer["model_version"] == canary.champion.version)
    weights = {"1": 1.0, **{version.version: 1.0 / int(version.version) for version in versions}}
    assert {one.status for one in asked} == {200}
    for one in asked:
        expected = answers([ROW], weights[one.answer["model_version"]])
        assert one.answer["outputs"][0]["data"] == pytest.approx(expected, abs=1e-6)
    assert {one.answer["model_version"] for one in asked} == set(weights)
    assert canary.faults() == 0
    assert len(children_of(canary.process.process.pid)) == 0


def test_another_challenger_takes_the_place_and_none_ends_it(canary: Canary, second: ModelVersion) -> None:
    canary.want(second, traffic=100)
    canary.reach("Ready")
    child = canary.child()
    canary.want(make_version(canary.store, "3", 0.25), traffic=100)
    canary.settle()
    canary.reach("Ready")
    wait_for_end(child)
    assert canary.side(1) == "3"
    child = canary.child()
    canary.want()
    assert canary.settle()["challenger"] is None
    wait_for_end(child)
    assert canary.ask().answer["model_version"] == "1"


@pytest.mark.parametrize(
    ("wrong", "message"), [("digest", "promised"), ("golden", "golden requests"), ("missing", "")]
)
def test_one_that_cannot_be_what_it_says_is_rejected(canary: Canary, wrong: str, message: str) -> None:
    bad = make_version(canary.store, "2", 0.5, golden=[0.5, 0.7] if wrong == "golden" else None)
    if wrong == "digest":
        key = canary.store.key(bad.bundle) + "/model.onnx"
        canary.store.put(key, canary.store.get(key)[:-1] + b"?")
    if wrong == "missing":
        bad = bad.model_copy(update={"bundle": bad.bundle[:-4] + "0000"})
    canary.want(bad, traffic=100)
    said = canary.reach("Rejected")
    assert message in said["message"]
    assert said["message"]
    asked = [canary.ask(key=key) for key in range(20)]
    assert {(one.status, one.role) for one in asked} == {(200, "champion")}
    assert canary.metric("challenger_state", state="Rejected") == 1
    assert canary.faults() == 0
    assert children_of(canary.process.process.pid) == []
    canary.want(make_version(canary.store, "3", 0.25), traffic=100)
    canary.settle()
    canary.reach("Ready")
    assert canary.side(1) == "3"


def test_it_ends_with_the_serving_process_whatever_ends_that(tmp_path: Path) -> None:
    for number, signum in enumerate((signal.SIGTERM, signal.SIGKILL)):
        directory = tmp_path / str(number)
        directory.mkdir()
        with Canary(directory, *UNHURRIED).running() as canary:
            canary.want(make_version(canary.store, "2", 0.5), traffic=100)
            canary.reach("Ready")
            child = canary.child()
            canary.process.process.send_signal(signum)
            if signum == signal.SIGTERM:
                canary.process.wait_for("/v2/health/ready", status=503)
                # while it drains, it is still asked
                assert canary.side(1) == "2"
            canary.process.process.wait(HANG)
            wait_for_end(child)


def test_it_ends_with_the_serving_process_even_when_it_is_stopped(
    canary: Canary, second: ModelVersion
) -> None:
    canary.want(second, traffic=100)
    canary.reach("Ready")
    child = canary.signal_child(signal.SIGSTOP)
    canary.process.process.kill()
    canary.process.process.wait(HANG)
    wait_for_end(child)


def test_one_that_is_still_loading_ends_with_the_serving_process(
    canary: Canary, second: ModelVersion
) -> None:
    canary.want(second)
    child = canary.child()
    canary.process.process.kill()
    canary.process.process.wait(HANG)
    wait_for_end(child)


# A model of weights that tell its columns apart, and the golden answers that go with them.
WEIGHTS = [1.0, 0.5, -1.0, 0.25, 2.0]
GOLDEN_ROWS = np.array([[0.1, 2.0, 0.3, 4.0, 0.5], [np.nan, 1.0, -1.0, 0.0, 2.0]])


def with_features(canary: Canary, features: dict[str, str]) -> ModelVersion:
    """A version 2 of these features; a feature's weight goes with its place."""
    golden = [float(1 / (1 + np.exp(-total))) for total in np.nan_to_num(GOLDEN_ROWS) @ WEIGHTS]
    return write_version(canary.store, "2", logistic(WEIGHTS), 1.0, golden, features=features)


def test_features_in_another_order_are_found_by_name(canary: Canary) -> None:
    """A caller's matrix has the champion's order, whoever answers it."""
    turned = dict(reversed(FEATURES.items()))
    canary.want(with_features(canary, turned), traffic=100)
    canary.reach("Ready")
    expected = float(1 / (1 + np.exp(-np.dot(WEIGHTS, ROW[::-1]))))
    by_column = {"inputs": [tensor(name, "FP64", [value]) for name, value in zip(FEATURES, ROW, strict=True)]}
    for body in (matrix_request(ROW), by_column):
        answer = {"parameters": {"fallback": True}}
        while answer["parameters"].get("fallback"):
            status, answer = canary.process.infer(body)
            assert status == 200
        assert answer["model_version"] == "2"
        assert answer["outputs"][0]["data"] == [pytest.approx(expected, abs=1e-6)]
    canary.want(with_features(canary, turned), shadow=True)
    canary.settle()
    before = canary.metric("predictions_sum", role="shadow")
    assert canary.ask().role == "champion"
    until(lambda: canary.metric("predictions_sum", role="shadow") != before)
    after = canary.metric("predictions_sum", role="shadow")
    assert after - before == pytest.approx(expected, abs=1e-6)


def test_features_that_callers_do_not_send_are_its_fault(canary: Canary) -> None:
    features = {"weather" if name == "hour" else name: source for name, source in FEATURES.items()}
    canary.want(with_features(canary, features), traffic=100, shadow=True)
    canary.reach("Ready")
    assert {canary.ask(key=key).role for key in range(5)} == {"fallback"}
    assert "weather" in canary.said()["challenger"]["last_fault"]["message"]
    assert canary.metric("challenger_faults_total", mode="routed", reason="error") == 5


def test_changes_that_come_thick_and_fast_leave_one_process(canary: Canary) -> None:
    versions = [make_version(canary.store, str(number), 1.0) for number in range(2, 5)]
    with callers(canary.process.port, lambda number: matrix_request(ROW, key=number), 2) as asked:
        for round_ in range(8):
            canary.want(versions[round_ % 3], traffic=100, shadow=True)
            time.sleep(0.25)
            canary.want()
            time.sleep(0.21)
        canary.want(versions[0], traffic=50)
        canary.settle()
        canary.reach("Ready")
    assert {one.status for one in asked} == {200}
    assert canary.faults() == 0
    until(lambda: len(children_of(canary.process.process.pid)) == 1)
