from __future__ import annotations

import gzip
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from faulty_store import FaultyStore
from prometheus_client.parser import text_string_to_metric_families
from recorded import measure, put_record, served_model, stage_record

from windtunnel.errors import IntegrityError, StoreError
from windtunnel.exporter.lifecycle_reader import LifecycleReader
from windtunnel.exporter.refresher import Refresher
from windtunnel.monitoring.measures import write_measure
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = ServedModel.model_validate(
    {"apiVersion": "windtunnel.dev/v1alpha1", "kind": "ServedModel", **served_model()}
)


def values(refresher: Refresher) -> dict[tuple[str, ...], float]:
    """What the page says: value by (name, values of the labels in the order of their names)."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(refresher.page.plain.decode())
        for sample in family.samples
    }


def nothing_served(_: Callable[[str], None]) -> dict[str, ServedModel]:
    return {}


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


def test_before_the_first_look_the_page_says_that_there_was_none(store: FaultyStore) -> None:
    found = values(Refresher(store, nothing_served))
    assert ("windtunnel_exporter_last_refresh_timestamp_seconds",) not in found
    assert found["windtunnel_exporter_read_failures_total", "records"] == 0
    assert found["process_resident_memory_bytes",] > 0
    assert not [key for key in found if key[0].endswith("_created")]


def test_every_lifecycle_is_found_by_what_lies_in_its_folder(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    write_measure(store, measure("trips"))
    store.put("logs/dag_id=shop/run_id=1/log", b"")
    store.put("raw/orders/2026-03-02.parquet", b"")
    store.put("Not_A_Lifecycle/runs/a/b.json", b"")
    refresher = Refresher(store, nothing_served)
    refresher.refresh()
    found = values(refresher)
    assert found["windtunnel_exporter_lifecycles",] == 2
    assert found["windtunnel_stage_runs_total", "shop", "success", "train"] == 1
    assert found["windtunnel_model_loss", "trips", "3"] == 0.7


@pytest.mark.parametrize("away", [False, True])
def test_a_look_that_finds_nothing_is_a_sign_of_life_too(store: FaultyStore, away: bool) -> None:
    seconds = 5.0
    refresher = Refresher(store, nothing_served, clock=lambda: seconds)
    store.away = away
    seconds = 900.0
    refresher.refresh()
    assert refresher.alive_at == 900.0


def test_what_serves_is_shown_beside_what_was_recorded(store: FaultyStore) -> None:
    refresher = Refresher(store, lambda _: {"shop": MODEL})
    refresher.refresh()
    assert values(refresher)["windtunnel_model_info", "shop", "champion", "3"] == 1


def test_the_page_is_the_same_gzipped(store: FaultyStore) -> None:
    refresher = Refresher(store, nothing_served)
    refresher.refresh()
    assert gzip.decompress(refresher.page.gzipped) == refresher.page.plain


def test_a_lifecycle_whose_folder_is_gone_is_gone(store: FaultyStore) -> None:
    key = put_record(store, "shop", stage_record())
    refresher = Refresher(store, nothing_served)
    refresher.refresh()
    for gone in (key, "shop/exporter/totals.json"):
        store.delete(gone)
    refresher.refresh()
    assert values(refresher)["windtunnel_exporter_lifecycles",] == 0


def test_a_lifecycle_that_was_moved_among_the_retired_is_gone(store: FaultyStore) -> None:
    """docs/operations.md says so."""
    key = put_record(store, "shop", stage_record())
    refresher = Refresher(store, nothing_served)
    refresher.refresh()
    for moved in (key, "shop/exporter/totals.json"):
        store.put(f"_retired/{moved}", store.get(moved))
        store.delete(moved)
    refresher.refresh()
    assert values(refresher)["windtunnel_exporter_lifecycles",] == 0
    assert ("windtunnel_stage_runs_total", "shop", "success", "train") not in values(refresher)


def test_when_a_store_is_away_the_last_values_stay_and_the_refresh_grows_old(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    refresher = Refresher(store, lambda _: {"shop": MODEL}, now=lambda: moment)
    refresher.refresh()
    before = values(refresher)
    store.away = True
    moment = datetime(2026, 3, 3, tzinfo=UTC)
    refresher.refresh()
    found = values(refresher)
    assert found["windtunnel_stage_runs_total", "shop", "success", "train"] == 1
    refreshed = ("windtunnel_exporter_last_refresh_timestamp_seconds",)
    assert found[refreshed] == before[refreshed] == datetime(2026, 3, 2, tzinfo=UTC).timestamp()
    assert found["windtunnel_exporter_read_failures_total", "lifecycles"] == 1
    store.away = False
    refresher.refresh()
    assert values(refresher)[refreshed] == moment.timestamp()


def test_when_kubernetes_is_away_what_served_last_is_shown(store: FaultyStore) -> None:
    answers = iter([{"shop": MODEL}])

    def listed(_: Callable[[str], None]) -> dict[str, ServedModel]:
        for answer in answers:
            return answer
        raise StoreError("the API server does not answer")

    refresher = Refresher(store, listed)
    refresher.refresh()
    refresher.refresh()
    found = values(refresher)
    assert found["windtunnel_model_info", "shop", "champion", "3"] == 1
    assert found["windtunnel_exporter_read_failures_total", "served_models"] == 1


def test_one_lifecycles_oddity_costs_the_others_nothing(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    put_record(store, "trips", stage_record())
    refresher = Refresher(store, nothing_served)
    refresher.refresh()
    refresher._readers["shop"].state.totals.stages["train"].last_failure = None  # type: ignore[assignment]
    refresher._readers["shop"].state.totals.stages["train"].failures = {"timeout": 1}
    refresher.refresh()
    found = values(refresher)
    assert found["windtunnel_exporter_read_failures_total", "samples"] == 1
    assert found["windtunnel_stage_runs_total", "trips", "success", "train"] == 1


def test_what_is_odd_in_one_lifecycle_is_an_answer_and_no_store_that_is_away(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_record(store, "shop", stage_record())
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    refresher = Refresher(store, nothing_served, now=lambda: moment)

    def odd(_: LifecycleReader) -> None:
        raise IntegrityError("nobody thought of this")

    monkeypatch.setattr(LifecycleReader, "_read_freshness", odd)
    refresher.refresh()
    found = values(refresher)
    assert found["windtunnel_exporter_last_refresh_timestamp_seconds",] == moment.timestamp()
    assert found["windtunnel_exporter_read_failures_total", "freshness"] == 1


def test_the_end_keeps_the_totals_of_all(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    refresher = Refresher(store, nothing_served)
    stop = threading.Event()
    stop.set()
    refresher.refresh()
    put_record(store, "shop", stage_record(try_number=2))
    refresher.refresh()
    refresher.run(30.0, stop)
    again = Refresher(store, nothing_served)
    store.calls.clear()
    again.refresh()
    assert values(again)["windtunnel_stage_runs_total", "shop", "success", "train"] == 2
    assert store.calls["get"] == 1, "only the totals"
