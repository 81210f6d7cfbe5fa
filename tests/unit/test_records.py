from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import StoreError
from windtunnel.objects import check_key
from windtunnel.records import (
    Measured,
    StageRecord,
    Usage,
    read_records,
    record_death,
    run_folder,
    write_record,
)
from windtunnel.spec.failures import Reason
from windtunnel.spec.stages import Reference, StageResult

if TYPE_CHECKING:
    import pytest

    from windtunnel.objects import ObjectStore

LOG = logging.getLogger("test")


def record(
    stage: str = "train",
    result: StageResult | None = None,
    minute: int = 0,
    view: str = "",
    map_index: int | None = None,
) -> StageRecord:
    at = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
    return StageRecord(
        stage=stage,
        run_id="manual__2026-01-01T00:00:00+00:00",
        try_number=2,
        map_index=map_index,
        started=at,
        ended=at,
        usage=Usage().measure(),
        result=result,
        error="" if result else "orders: no rows",
        pod="pod-1",
        spec_digest="sha256:0",
        code_version="v1",
        view=view,
    )


def test_every_slice_of_every_view_has_a_record_of_its_own(store: ObjectStore) -> None:
    for view in ("customer", "product"):
        for part in (0, 1):
            write_record(store, "demo", record("materialize", view=view, map_index=part), LOG)
    found = {(one["view"], one["map_index"]) for one in read_records(store, "demo")}
    assert found == {("customer", 0), ("customer", 1), ("product", 0), ("product", 1)}


def test_a_record_says_what_came_out(store: ObjectStore) -> None:
    outputs = {
        "a": Reference("model", "u", "d", rows=3, bytes=10),
        "b": Reference("bundle", "u", "d", rows=1),
    }
    write_record(store, "demo", record(result=StageResult(outputs, cached=True)), LOG)
    [entry] = store.list("demo/runs")
    assert entry.key == "demo/runs/manual__2026-01-01T00:00:00+00:00/train.2.json"
    written = json.loads(store.get(entry.key))
    assert (written["outcome"], written["cached"], written["rows"], written["bytes"]) == (
        "success",
        True,
        4,
        10,
    )
    assert written["max_memory_bytes"] > 1_000_000
    assert written["seconds"] >= 0


def test_a_failure_is_recorded_with_its_reason(store: ObjectStore) -> None:
    write_record(store, "demo", record(), LOG)
    [written] = read_records(store, "demo")
    assert (written["outcome"], written["error"], written["outputs"]) == ("failed", "orders: no rows", {})


def test_records_are_never_overwritten(store: ObjectStore) -> None:
    write_record(store, "demo", record(), LOG)
    write_record(store, "demo", record(result=StageResult()), LOG)
    assert read_records(store, "demo")[0]["outcome"] == "failed"


def death(reason: Reason, error: str = "seen from outside") -> StageRecord:
    return replace(record(), reason=reason, error=error)


def test_a_try_that_could_not_tell_how_it_failed_gets_a_record_by_who_saw_it(store: ObjectStore) -> None:
    assert record_death(store, "demo", death(Reason.OUT_OF_MEMORY))
    assert record_death(store, "demo", death(Reason.OUT_OF_MEMORY)), "once more after a restart"
    assert not record_death(store, "demo", death(Reason.CRASHED))
    [written] = read_records(store, "demo")
    assert (written["outcome"], written["reason"]) == ("failed", "out_of_memory")


def test_what_a_stage_said_of_itself_stays(store: ObjectStore) -> None:
    write_record(store, "demo", record(result=StageResult()), LOG)
    assert not record_death(store, "demo", death(Reason.EVICTED))
    assert read_records(store, "demo")[0]["outcome"] == "success"


def test_who_knows_why_a_stage_was_asked_to_end_may_say_so(store: ObjectStore) -> None:
    stopped = replace(death(Reason.STOPPED), usage=Measured(9.0, 8.0, 7))
    write_record(store, "demo", stopped, LOG)
    assert not record_death(store, "demo", death(Reason.UNKNOWN))
    assert record_death(store, "demo", death(Reason.TIMEOUT, "ran longer than 1 min"))
    [written] = read_records(store, "demo")
    assert (written["reason"], written["error"]) == ("timeout", "ran longer than 1 min")
    assert written["cpu_seconds"] == 8.0, "what the stage measured is kept"


def test_records_come_in_the_order_of_their_start(store: ObjectStore) -> None:
    write_record(store, "demo", record("train", minute=1), LOG)
    write_record(store, "demo", record("snapshot", minute=0), LOG)
    names = [one["stage"] for one in read_records(store, "demo", "manual__2026-01-01T00:00:00+00:00")]
    assert names == ["snapshot", "train"]
    assert read_records(store, "demo", "another") == []


def test_a_record_that_cannot_be_written_fails_nothing(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(key: str, data: bytes) -> bool:
        raise StoreError(f"{key} {len(data)}")

    monkeypatch.setattr(store, "put_new", away)
    write_record(store, "demo", record(), LOG)
    assert "no stage record was written" in caplog.text


@given(st.text())
def test_any_run_id_is_one_segment_of_a_key(run_id: str) -> None:
    assert "/" not in check_key(run_folder(run_id)[:800])


def test_a_record_says_what_the_try_cost_at_the_price_of_then() -> None:
    priced = replace(record(), usage=Measured(1800.0, 900.0, 1), stage_class="large", price_per_hour=0.5)
    told = priced.to_json()
    assert (told["class"], told["price_per_hour"], told["cost"]) == ("large", 0.5, 0.25)


def test_without_a_price_there_is_no_cost() -> None:
    assert record().to_json()["cost"] is None
