"""Drift against synthetic rows of a service: every named shift is found, quiet windows stay quiet.

A slice of what `python -m tests.bench.drift detection` runs beside Evidently; the table is in docs/drift.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.bench.drift import world
from tests.bench.drift.detection import references, windows
from tests.bench.drift.ours import Windtunnel
from tests.bench.drift.quiet import QUIET, Quiet
from tests.bench.drift.shifts import SHIFTS, Shift

SEED = 20
SHARE = 0.08
"""Of the quiet windows of each kind."""
SLOW = {"half a million rows, a tiny effect", "200 columns"}


@pytest.fixture(scope="module")
def detectors() -> dict[bool, Windtunnel]:
    return {text: Windtunnel(sample) for text, sample in references(SEED).items()}


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_a_shift_is_found(shift: Shift, detectors: dict[bool, Windtunnel]) -> None:
    (window,) = windows(shift, 1, SEED)
    assert {*detectors[shift.text].drifted(window)} & {*shift.columns}


def test_what_is_drifted_is_what_was_changed(detectors: dict[bool, Windtunnel]) -> None:
    shift = next(shift for shift in SHIFTS if shift.name == "mean up")
    (window,) = windows(shift, 1, SEED)
    assert detectors[False].drifted(window) == ["age"]


def test_quiet_windows_stay_quiet() -> None:
    kinds = [kind for kind in QUIET if kind.name not in SLOW]
    alarms = {kind.name: _alarms(kind) for kind in kinds}
    asked = sum(count for _, count in alarms.values())
    # 2 % on the long run; of so few windows, two may ring.
    assert sum(rung for rung, _ in alarms.values()) <= 2, alarms
    assert asked >= 75


def _alarms(kind: Quiet) -> tuple[int, int]:
    rung = asked = 0
    for reference, drawn in kind.pairs(max(4, int(kind.windows * SHARE)), SEED):
        detector = Windtunnel(reference)
        asked += len(drawn)
        rung += sum(bool(detector.drifted(window)) for window in drawn)
    return rung, asked


def test_many_columns_do_not_add_up_to_alarms() -> None:
    kind = next(kind for kind in QUIET if kind.name == "200 columns")
    (reference, drawn), *_ = kind.pairs(1, SEED)
    assert Windtunnel(reference).drifted(drawn[0]) == []


def test_the_world_draws_what_its_names_say() -> None:
    frame = world.rows(np.random.default_rng(0), 5_000)
    assert frame["member"].mean() == pytest.approx(0.3, abs=0.03)
    assert np.corrcoef(frame["age"], frame["speed"])[0, 1] == pytest.approx(0.6, abs=0.04)
