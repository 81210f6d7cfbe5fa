from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import NOON, stage_record

from windtunnel.exporter.totals import (
    MOST_KINDS,
    MOST_PARTS,
    MOST_STAGES,
    MOST_STOPPED,
    OTHER,
    OVERLAP,
    RetentionTotals,
    StageTotals,
    Totals,
)  # fmt: skip
from windtunnel.objects import Entry
from windtunnel.spec.failures import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.records import StageRecord


def entry(key: str, seconds: float = 0.0, etag: str = "1") -> Entry:
    return Entry(key, 10, etag, NOON + timedelta(seconds=seconds))


def totalled(*records: StageRecord) -> Totals:
    totals = Totals()
    for number, record in enumerate(records):
        totals.count(entry(f"shop/runs/{number}.json", number), record.to_json())
    return totals


def test_tries_are_counted_by_outcome_and_failures_by_reason() -> None:
    totals = totalled(
        stage_record(),
        stage_record(reason=Reason.OUT_OF_MEMORY),
        stage_record(reason=Reason.OUT_OF_MEMORY, at=NOON + timedelta(hours=1)),
        stage_record(reason=Reason.TIMEOUT),
    )
    train = totals.stages["train"]
    assert train.runs == {"success": 1, "failed": 3}
    assert train.failures == {"out_of_memory": 2, "timeout": 1}
    assert train.last_failure["out_of_memory"] == (NOON + timedelta(hours=1, seconds=60)).timestamp()
    assert train.last_success == (NOON + timedelta(seconds=60)).timestamp()
    assert train.cpu_seconds == 120


LATER = NOON + timedelta(hours=1)
FAILED = stage_record("materialize", "one", view="a", reason=Reason.TIMEOUT)


@pytest.mark.parametrize(
    ("then", "reasons"),
    [
        ([], ["timeout"]),
        ([stage_record("materialize", "one", view="b")], ["timeout"]),
        ([stage_record("materialize", "one", view="a", at=LATER)], []),
        ([stage_record("materialize", "two", view="b", at=LATER)], []),
        ([stage_record("materialize", "two", view="b", at=NOON - timedelta(hours=1))], ["timeout"]),
        ([stage_record("materialize", "one", view="a", at=LATER, reason=Reason.EVICTED)], ["evicted"]),
        ([stage_record("materialize", "one", view="b", reason=Reason.STOPPED)], ["timeout"]),
        ([stage_record("materialize", "one", view="b", reason=Reason.EVICTED)], ["evicted", "timeout"]),
    ],
)
def test_a_part_fails_until_it_ends_well_or_another_does_in_a_later_run(
    then: list[StageRecord], reasons: list[str]
) -> None:
    failing = totalled(FAILED, *then).stages["materialize"].failing
    assert sorted(reason for _, _, reason in failing.values()) == reasons


def test_failing_parts_are_bounded() -> None:
    many = [stage_record(map_index=n, reason=Reason.TIMEOUT) for n in range(3 * MOST_PARTS)]
    failing = totalled(*many).stages["train"].failing
    assert len(failing) == MOST_PARTS + 1
    assert totalled(*many, stage_record(run_id="next", at=LATER)).stages["train"].failing == {}


def test_a_record_of_an_older_release_has_an_unknown_reason() -> None:
    old = stage_record(reason=Reason.TIMEOUT).to_json()
    del old["reason"]
    totals = Totals()
    totals.count(entry("a"), old)
    assert totals.stages["train"].failures == {"unknown": 1}


def test_cost_is_none_until_a_record_names_a_price() -> None:
    assert totalled(stage_record()).stages["train"].cost is None
    priced = totalled(stage_record(), stage_record(price=2.0), stage_record(price=0.0))
    assert priced.stages["train"].cost == pytest.approx(2.0 / 60, abs=1e-6)


def test_duration_and_memory_are_those_of_the_last_run_over_all_its_tries() -> None:
    later = NOON + timedelta(hours=1)
    totals = totalled(
        stage_record(run_id="one", seconds=900, memory=900),
        stage_record(run_id="two", at=later, seconds=10, memory=20, map_index=0),
        stage_record(run_id="two", at=later, seconds=30, memory=5, map_index=1),
        # the log of an earlier run that came late
        stage_record(run_id="one", seconds=999, memory=999, try_number=2),
    )
    assert (totals.stages["train"].last_seconds, totals.stages["train"].peak_memory) == (30, 20)


def test_the_longest_gap_is_that_between_runs_which_came_by_themselves() -> None:
    def run(hour: float, kind: str = "scheduled__") -> StageRecord:
        return stage_record(run_id=f"{kind}{hour}", at=NOON + timedelta(hours=hour))

    stage = totalled(run(0), run(1), run(1.5, "manual__"), run(2)).stages["train"]
    assert stage.longest_gap == 3600
    assert totalled(run(0), run(1)).stages["train"].longest_gap is None
    # a long gap is forgotten after eight others
    many = totalled(run(0), *(run(100 + hour, "asset_triggered__") for hour in range(9)))
    assert many.stages["train"].longest_gap == 3600
    # the tries of one run are one start
    retried = totalled(run(0), run(0), run(1), run(1), run(2))
    assert retried.stages["train"].longest_gap == 3600


@pytest.mark.parametrize(
    ("stage", "because", "gap"),
    [("train", "", 3600), ("train", "drift of distance", None), ("rollout", "", None)],
)
def test_a_run_with_a_reason_and_a_rollout_are_not_waited_for(
    stage: str, because: str, gap: float | None
) -> None:
    runs = [
        stage_record(stage, f"asset_triggered__{hour}", at=NOON + timedelta(hours=hour)) for hour in range(3)
    ]
    totals = totalled(*(replace(run, because=because) for run in runs))
    assert totals.stages[stage].longest_gap == gap


def test_rows_are_rejected_once_by_source() -> None:
    facts = {"rejected": {"orders": 3, "visits": 0}}
    totals = totalled(
        stage_record("extract", facts=facts),
        stage_record("extract", facts=facts, cached=True),
        stage_record("train", facts=facts),
        stage_record("extract", facts={}),
    )
    assert totals.rejected == {"orders": 3, "visits": 0}


def test_what_was_counted_is_not_counted_again() -> None:
    totals = Totals()
    listed = [entry("a", 1), entry("b", 2)]
    assert all(map(totals.is_new, listed))
    for one in listed:
        totals.count(one, stage_record().to_json())
    assert not any(map(totals.is_new, listed))
    assert totals.is_new(entry("c", 2 - OVERLAP.total_seconds() / 2)), "shown later, though written before"
    assert not totals.is_new(entry("d", -OVERLAP.total_seconds())), "older than anything could be"


def test_a_failure_that_is_explained_later_adds_its_reason_and_is_one_run() -> None:
    totals = Totals()
    totals.count(entry("a"), stage_record(reason=Reason.STOPPED).to_json())
    explained = entry("a", 2, etag="2")
    assert totals.is_new(explained)
    totals.count(explained, stage_record(reason=Reason.EVICTED).to_json())
    assert totals.stages["train"].runs == {"failed": 1}
    assert totals.stages["train"].failures == {"stopped": 1, "evicted": 1}


def test_an_explanation_that_comes_much_later_is_no_second_run_either() -> None:
    totals = Totals()
    totals.count(entry("a"), stage_record(reason=Reason.STOPPED).to_json())
    day = timedelta(days=1).total_seconds()
    totals.count(entry("b", day), stage_record(map_index=1).to_json())
    again = Totals.from_json(json.loads(json.dumps(totals.to_json())))
    again.count(entry("a", day + 1, etag="2"), stage_record(reason=Reason.EVICTED).to_json())
    train = again.stages["train"]
    assert (train.runs, train.failures) == ({"failed": 1, "success": 1}, {"stopped": 1, "evicted": 1})
    assert (train.cpu_seconds, train.failing[""][2]) == (60, "evicted")


def test_what_was_explained_before_it_was_counted_is_a_run() -> None:
    totals = Totals()
    totals.count(entry("b", timedelta(days=1).total_seconds()), stage_record().to_json())
    late = entry("a", timedelta(days=1).total_seconds() + 1, etag="2")
    totals.count(late, stage_record(reason=Reason.EVICTED).to_json())
    assert totals.stages["train"].runs == {"failed": 1, "success": 1}


def test_the_stopped_that_are_remembered_are_bounded() -> None:
    totals = totalled(*(stage_record(reason=Reason.STOPPED) for _ in range(MOST_STOPPED + 3)))
    assert len(totals.stopped) == MOST_STOPPED
    assert totals.stopped[0] == "shop/runs/3.json"


def retained(kept: int, swept: int, *, at: datetime = NOON, dry_run: bool = False) -> StageRecord:
    amounts = [{"cache": {"objects": number, "bytes": 10 * number}} for number in (kept, swept)]
    facts = {"kept": amounts[0], "swept": amounts[1] if swept else {}, "dry_run": dry_run}
    return stage_record("retain", at.isoformat(), at=at, facts=facts)


def test_what_is_kept_is_of_the_newest_sweep_and_what_was_taken_adds_up() -> None:
    day = timedelta(days=1)
    sweeps = totalled(retained(5, 3, at=NOON + day), retained(7, 2)).retention
    assert sweeps.kept == {"cache": (5, 50)}
    assert sweeps.swept == {"cache": (5, 50)}


def test_of_every_kind_is_told_that_nothing_was_taken_yet() -> None:
    assert totalled(retained(5, 0)).retention.swept == {"cache": (0, 0)}


def test_a_dry_run_and_a_failed_one_changed_nothing() -> None:
    failed = stage_record("retain", reason=Reason.TIMEOUT, at=NOON + timedelta(days=2))
    sweeps = totalled(
        retained(5, 3), retained(1, 7, at=NOON + timedelta(days=1), dry_run=True), failed
    ).retention
    assert (sweeps.kept, sweeps.swept) == ({"cache": (5, 50)}, {"cache": (3, 30)})


def test_sweeps_are_kept_with_the_totals_and_older_totals_know_of_none() -> None:
    totals = totalled(retained(5, 3))
    kept = json.loads(json.dumps(totals.to_json()))
    assert Totals.from_json(kept).retention == totals.retention
    older = json.loads(json.dumps(totals.to_json()))
    del older["retention"]
    assert Totals.from_json(older).retention == RetentionTotals()


def test_kinds_are_bounded() -> None:
    many = {f"kind_{number}": {"objects": 1, "bytes": 1} for number in range(200)}
    sweeps = totalled(stage_record("retain", facts={"kept": many, "swept": many})).retention
    assert max(len(sweeps.kept), len(sweeps.swept)) <= MOST_KINDS + 1


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"stage": "train"},
        {**stage_record().to_json(), "ended": "yesterday"},
        {"stage": []},
        *(
            {**stage_record("extract").to_json(), **odd}
            for odd in (
                {"cpu_seconds": float("nan")},
                {"seconds": float("inf")},
                {"cost": float("nan")},
                {"max_memory_bytes": float("inf")},
                {"facts": {"rejected": {"orders": float("inf")}}},
            )
        ),
        *(
            {**stage_record("retain").to_json(), "facts": odd}
            for odd in (
                {},
                {"kept": {}},
                {"kept": {"cache": 7}, "swept": {}},
                {"kept": {"cache": {"objects": "x", "bytes": 1}}, "swept": {}},
                {"kept": {}, "swept": {"cache": {"objects": 1, "bytes": float("nan")}}},
            )
        ),
    ],
)
def test_what_is_no_record_adds_nothing_and_is_seen_once(broken: dict[str, object]) -> None:
    totals = Totals()
    with pytest.raises((KeyError, TypeError, ValueError)):
        totals.count(entry("a"), broken)
    assert totals.stages == {}
    assert not totals.is_new(entry("a"))


def test_a_record_that_was_swept_is_seen() -> None:
    totals = Totals()
    totals.count(entry("a"), None)
    assert (totals.stages, totals.is_new(entry("a"))) == ({}, False)


def test_names_beyond_the_bound_are_counted_together() -> None:
    totals = totalled(*(replace(stage_record(), stage=f"stage{n}") for n in range(MOST_STAGES + 5)))
    assert len(totals.stages) == MOST_STAGES + 1
    assert totals.stages[OTHER].runs == {"success": 5}


def test_ledger_entries_are_counted_by_action() -> None:
    totals = Totals()
    for number, action in enumerate(("promotion", "rollback", "promotion"), start=1):
        written = (NOON + timedelta(minutes=number)).isoformat()
        totals.enter(number, json.dumps({"action": action, "written": written}).encode())
    assert totals.ledger == {"promotion": 2, "rollback": 1}
    assert totals.ledger_last["promotion"] == (NOON + timedelta(minutes=3)).timestamp()
    assert totals.ledger_number == 3


@pytest.mark.parametrize(
    "broken", [b"", b"\xff", b"[]", b"{}", b'{"written": 3}', b'{"action": "promotion", "written": "noon"}']
)
def test_what_is_no_entry_of_the_ledger_adds_nothing_and_is_seen_once(broken: bytes) -> None:
    totals = Totals()
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        totals.enter(7, broken)
    assert (totals.ledger, totals.ledger_last, totals.ledger_number) == ({}, {}, 7)


REASONS = st.one_of(st.none(), st.sampled_from(list(Reason)))
RECORDS = st.builds(
    stage_record,
    stage=st.sampled_from(["extract", "train", "monitor"]),
    run_id=st.sampled_from(["scheduled__1", "scheduled__2", "manual__1"]),
    seconds=st.floats(0, 1e5),
    reason=REASONS,
    price=st.one_of(st.none(), st.floats(0, 100)),
    at=st.integers(0, 10_000).map(lambda minutes: NOON + timedelta(minutes=minutes)),
)


@settings(max_examples=40)
@given(st.lists(RECORDS, max_size=12), st.integers(0, 12))
def test_counting_goes_on_after_a_restart_as_if_there_was_none(records: list[StageRecord], cut: int) -> None:
    whole = totalled(*records)
    first = totalled(*records[:cut])
    again = Totals.from_json(json.loads(json.dumps(first.to_json())))
    listed = [entry(f"shop/runs/{number}.json", number) for number in range(len(records))]
    for one in filter(again.is_new, listed):
        number = int(one.key.rpartition("/")[2].removesuffix(".json"))
        again.count(one, records[number].to_json())
    assert again == whole


def test_totals_of_another_release_are_refused() -> None:
    content = Totals(stages={"train": StageTotals()}).to_json()
    with pytest.raises(ValueError, match="another release"):
        Totals.from_json({**content, "version": 0})
