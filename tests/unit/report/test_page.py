"""The page out of what the object store holds: whole, lacking, huge."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_days import LIFECYCLE, measure_of
from report_world import write_past

from windtunnel.errors import NotFoundError
from windtunnel.objects import open_store
from windtunnel.report import render_report
from windtunnel.report.columns import histories, level
from windtunnel.report.page import page
from windtunnel.report.subject import Subject, gather

if TYPE_CHECKING:
    from windtunnel.monitoring.measures import Measure
    from windtunnel.objects import ObjectStore

NOW = datetime(2023, 3, 1, tzinfo=UTC)
LARGEST = 300_000


def _titles(html: str) -> list[str]:
    return re.findall(r'<h2 id="(\w+)-title">', html)


def test_the_same_store_gives_the_same_page(store: ObjectStore) -> None:
    write_past(store, windows=4)
    assert render_report(store, LIFECYCLE, NOW) == render_report(store, LIFECYCLE, NOW)


def test_its_policy_allows_its_own_stylesheet_and_nothing_else(store: ObjectStore) -> None:
    write_past(store, windows=2)
    html = render_report(store, LIFECYCLE, NOW)
    css = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert css
    digest = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    assert policy[1].replace("&#x27;", "'").split("; ")[:2] == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
    ]
    # What the policy forbids is not there to begin with.
    assert not re.search(r"<script|<link|<img|<iframe|<form|\sstyle=|\son\w+=|https?:", html)


def test_drift_to_recovery_can_be_read_in_the_story(store: ObjectStore) -> None:
    write_past(store, windows=36)
    html = render_report(store, LIFECYCLE, NOW)
    told = re.findall(r'<li class="entry \w+">.*?<b>(.*?)</b>', html)
    plain = [re.sub(r"<.*?>", "", one).replace("\N{NO-BREAK SPACE}", " ") for one in told]
    assert plain == [
        "Well again: version 8",
        "Promoted version 8 in the place of 6",
        "Retrained into version 8",
        "Refused version 7",
        "Retraining asked for, instead of version 6",
        "Drift seen on version 6",
        "Promoted version 6",
    ]
    assert "Healthy" in html


def test_a_lifecycle_that_only_trained_has_a_page_too(store: ObjectStore) -> None:
    store.put(
        "demo/runs/manual/train.1.json", b'{"stage": "train", "run_id": "manual", "outcome": "success"}'
    )
    html = render_report(store, "demo", NOW)
    assert "Nothing serves yet" in html
    assert _titles(html) == ["verdict", "cost"]


def test_a_lifecycle_that_nobody_knows_is_told(store: ObjectStore) -> None:
    with pytest.raises(NotFoundError, match="nothing is known of a lifecycle 'demo'"):
        render_report(store, "demo")


def test_what_was_changed_or_swept_is_named_and_the_rest_is_told(store: ObjectStore) -> None:
    write_past(store, windows=3, drift_from=99, retrained=99)
    subject = gather(store, LIFECYCLE, NOW)
    assert subject.champion
    assert subject.lost == ()
    folder = f"{LIFECYCLE}/bundles/{subject.champion.digest.removeprefix('sha256:')}"
    store.put(f"{folder}/manifest.json", b'{"estimator": "Another"}')
    store.put(f"{LIFECYCLE}/verdicts/torn.json", b"{")
    html = render_report(store, LIFECYCLE, NOW)
    assert "What could not be read" in html
    assert "the champion&#x27;s bundle" in html
    assert "Another" not in html
    assert "quality" in _titles(html)


@pytest.mark.parametrize(
    ("key", "content", "told"),
    [
        ("ledger/000001.json", b"[1, 2]", "the ledger: 1 entries are no JSON objects"),
        ("ledger/000001.json", b"{torn", "the ledger: JSONDecodeError"),
        ("freshness/weather.json", b'["not", "a", "state"]', "freshness: "),
        ("freshness/weather.json", b'{"view": "weather"}', "freshness: KeyError"),
        ("measures/99999999T000000Z-9-torn.json", b"[]", "measures: "),
    ],
)
def test_what_has_another_shape_is_named_and_the_rest_is_told(
    store: ObjectStore, key: str, content: bytes, told: str
) -> None:
    write_past(store, windows=3, drift_from=99, retrained=99)
    store.put(f"{LIFECYCLE}/{key}", content)
    [lost] = gather(store, LIFECYCLE, NOW).lost
    assert lost.startswith(told)
    assert render_report(store, LIFECYCLE, NOW).endswith("</html>")


def _wide(day: int) -> Measure:
    """Far more of everything than anybody has."""
    measure = measure_of(day, drifted=True, version=("6", "sha256:06"))
    assert measure.drift
    assert measure.quality
    one = measure.drift.columns[0]
    columns = tuple({**one, "column": f"feature_{number:03}" + "x" * 80} for number in range(200))
    slices = tuple(replace(measure.slices[0], value=f"value {number} " + "y" * 90) for number in range(500))
    return replace(
        measure,
        drift=replace(measure.drift, columns=columns, drifted=tuple(one["column"] for one in columns)),
        slices=slices,
    )


def test_the_page_stays_small_however_much_there_is(store: ObjectStore) -> None:
    write_past(store, windows=3)
    many = {
        "action": "refusal",
        "version": "9",
        "reasons": ["z" * 400] * 6,
        "run_id": "r" * 200,
        "number": 200,
    }
    subject = replace(
        gather(store, LIFECYCLE, NOW), measures=tuple(_wide(day) for day in range(60)), entries=(many,) * 200
    )
    html = page(subject)
    assert len(html.encode()) < LARGEST
    assert "152 more columns" in html


def test_columns_are_ordered_by_what_drifts_now_then_by_what_did() -> None:
    calm = measure_of(1, drifted=False, version=("6", "a"))
    found = histories([measure_of(0, drifted=True, version=("6", "a")), calm])
    assert {one.name for one in found[:4]} == {"carrier", "dest", "wind_gust", "prediction"}
    assert not any(one.drifts for one in found)
    assert histories([calm, measure_of(2, drifted=True, version=("6", "a"))])[0].name == "carrier"


def test_a_column_that_a_window_lacks_has_no_effect_there() -> None:
    days = [measure_of(day, drifted=False, version=("6", "a")) for day in (1, 2, 3)]
    label = next(one for one in histories(days) if one.name == "label")
    assert [effect is None for effect in label.effects] == [False, True, False]


def test_each_column_that_drifts_has_a_picture_with_its_reasons(store: ObjectStore) -> None:
    write_past(store, windows=25)
    html = render_report(store, LIFECYCLE, NOW)
    articles = re.findall(r'<article class="multiple">.*?</article>', html, re.DOTALL)
    assert len(articles) == 4
    assert "carrier" in articles[0]
    assert "G4 is new (3.0 % of the rows)." in articles[0]
    assert 'class="dots"' in articles[0]
    assert articles[0].count('class="after"') == 6


def test_cells_get_darker_with_the_effect() -> None:
    assert [level(effect) for effect in (0.0, 0.06, 0.15, 0.3, 0.9)] == [0, 1, 2, 3, 4]


def test_one_window_alone_makes_a_page() -> None:
    measure = replace(measure_of(0, drifted=True, version=("6", "a")), versions=(), skew=None, freshness={})
    html = page(Subject(LIFECYCLE, NOW + timedelta(days=1), measures=(measure,)))
    assert _titles(html)[:3] == ["verdict", "quality", "drift"]


_ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.just([])
    | st.just({})
    | st.just([None])
)


def _spoiled(draw: st.DrawFn, value: Any) -> Any:
    """The document with some of its parts replaced by something else."""
    if draw(st.integers(0, 12)) == 0:
        return draw(_ODD)
    if isinstance(value, dict):
        return {key: _spoiled(draw, item) for key, item in value.items()}
    return [_spoiled(draw, item) for item in value[:4]] if isinstance(value, list) else value


@given(st.data())
@settings(max_examples=20)
def test_documents_of_another_form_cost_their_section_at_most(past: Subject, data: st.DataObject) -> None:
    def spoil(documents: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        found = [_spoiled(data.draw, document) for document in documents[-2:]]
        return tuple(one if isinstance(one, dict) else {} for one in found)

    html = page(
        replace(
            past,
            verdicts=spoil(past.verdicts),
            entries=spoil(past.entries),
            records=spoil(past.records),
            manifest=spoil((past.manifest or {},))[0],
            snapshot=spoil((past.snapshot or {},))[0],
        )
    )
    assert html.endswith("</html>")
    assert {"verdict", "quality", "drift"} <= set(_titles(html))


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    store = open_store(str(tmp_path_factory.mktemp("store")), {})
    write_past(store, windows=3, drift_from=1, retrained=99)
    return gather(store, LIFECYCLE, NOW)
