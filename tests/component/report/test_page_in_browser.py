"""The report in a real browser: readable on a phone, asks for nothing, and nobody's name becomes markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from browser import look
from measured_days import LIFECYCLE, measure_of, renamed
from report_world import write_past

from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import write_measure
from windtunnel.objects import open_store
from windtunnel.report import render_report

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.objects import ObjectStore

HOSTILE = (
    '"><script>window.hacked=parent.hacked=1</script><img src=/leak onerror="parent.hacked=1"> \u202e\'&lt;'
)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """Ends on a bad day, when there is most to show."""
    store = open_store(str(tmp_path_factory.mktemp("store")), {})
    write_past(store, windows=29)
    return store


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_stands_out_of_the_screen_and_no_words_of_a_picture_cover_each_other(
    past: ObjectStore, width: int
) -> None:
    seen = look(render_report(past, LIFECYCLE), width)
    assert seen.width <= width
    assert seen.outside == []
    assert seen.collisions == []
    assert seen.smallest >= 12
    assert seen.requests == []


def test_the_verdict_comes_first_and_every_section_is_there(past: ObjectStore) -> None:
    seen = look(render_report(past, LIFECYCLE), 390, dark=True)
    assert seen.headings[0] == LIFECYCLE
    assert seen.headings[1].startswith("Version 6 is worse than promised: log loss 0.4")
    wanted = [
        "Quality over time", "Drift by feature", "Slices", "Calibration", "Champion against challenger",
        "Rollouts and decisions", "Features as served", "Model card", "Cost",
    ]  # fmt: skip
    assert [heading for heading in seen.headings if heading in wanted] == wanted
    for told in ("EV is gone (was 16 %)", "drift for 2 windows in a row", "train: out of memory, 1 try"):
        assert told.casefold() in seen.text.casefold()
    assert _brightness(seen.colours["background"]) < 0.2 < 0.8 < _brightness(seen.colours["text"])


def test_hostile_names_stay_text_and_reach_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), {})
    write_past(store, windows=3)
    for day in (3, 4):
        write_measure(store, renamed(measure_of(day, drifted=True, version=("6", "sha256:00")), HOSTILE))
    entry = dict.fromkeys(("action", "version", "by", "run_id", "reason", "because", "replaced"), HOSTILE)
    Ledger(store, LIFECYCLE).append({**entry, "at": HOSTILE})
    page = render_report(store, LIFECYCLE)
    assert "\u202e" not in page
    seen = look(page, 390)
    assert "<script>window.hacked" in seen.text, "the name is not told"
    assert not seen.hacked
    assert seen.scripts == 0
    assert seen.requests == []
    assert seen.outside == []


def _brightness(colour: str) -> float:
    """Of `rgb(r, g, b)`, 0 to 1."""
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3 / 255
