from __future__ import annotations

from datetime import date, timedelta

import pytest
from aged_store import AgedStore

from windtunnel.retention.contents import Unit, contents
from windtunnel.spec.log_keys import log_key
from windtunnel.spec.stages import RETAIN_DAG

HEX = "ab" * 32


def units_of(*keys: str) -> list[Unit]:
    store = AgedStore()
    for key in keys:
        store.put(key, b"1234")
    return contents(store, "shop")


@pytest.mark.parametrize(
    ("key", "kind", "place"),
    [
        (f"shop/bundles/{HEX}/model.onnx", "bundles", f"shop/bundles/{HEX}/"),
        (f"shop/snapshots/{HEX}/train.parquet", "snapshots", f"shop/snapshots/{HEX}/"),
        ("shop/runs/scheduled__2026-01-01T00:00:00+00:00/train.1.json", "records", None),
        ("shop/scoring/manual__1.json", "records", "shop/scoring/manual__1.json"),
        (f"shop/cache/train/{HEX}.json", "cache", f"shop/cache/train/{HEX}.json"),
        ("shop/measures/20260101T000000Z-1-a.html", "reports", "shop/measures/20260101T000000Z-1-a.html"),
        (
            "shop/predictions/2026-01-01/07/pod-1-00000000.parquet",
            "predictions",
            "shop/predictions/2026-01-01/07/",
        ),
        ("shop/scores/2026-01-01/00/1-0-of-2-0.parquet", "scores", "shop/scores/2026-01-01/00/"),
        ("shop/partitions/orders/2026-01-01.json", "partitions", "shop/partitions/orders/2026-01-01."),
        ("shop/quarantine/orders/2026-01-01.parquet", "partitions", "shop/quarantine/orders/2026-01-01."),
        ("shop/features/customer/2026-01-01.parquet", "features", "shop/features/customer/2026-01-01."),
    ],
)
def test_everything_is_known_by_its_place(key: str, kind: str, place: str | None) -> None:
    (unit,) = units_of(key)
    assert unit.kind == kind
    assert unit.place == (place or f"{key.rpartition('/')[0]}/")
    assert (unit.objects, unit.bytes) == (1, 4)
    assert unit.day == (
        date(2026, 1, 1) if kind in ("predictions", "scores", "partitions", "features") else None
    )


@pytest.mark.parametrize(
    "key",
    [
        "shop/ledger/000001.json",
        f"shop/verdicts/{HEX}.json",
        "shop/measures/20260101T000000Z-1-a.json",
        "shop/freshness/customer.json",
        "shop/registry.pb",
        "shop/exporter/totals.json",
        "shop/bundles/mine/model.onnx",
        "shop/bundles/readme.txt",
        f"shop/bundles/{HEX}/mine/model.onnx",
        "shop/runs/manual__1/notes.txt",
        f"shop/old/bundles/{HEX}/model.onnx",
        "shop/partitions/orders/2026-02-31.parquet",
        "shop/partitions/orders/2026-01-01.csv",
        "shop/features/customer/2026-01-01_000001_ab.parquet",
        "shop/features/customer/more/2026-01-01.parquet",
        "shop/predictions/2026-01-01/07/notes.txt",
        "shop/predictions/2026-01-01/notes.parquet",
        "shop/raw/2026-01-01.parquet",
    ],
)
def test_what_is_for_good_or_somebody_elses_is_other(key: str) -> None:
    (unit,) = units_of(key)
    assert unit.kind == "other"


def test_logs_are_those_of_the_lifecycles_dags_and_of_its_task_in_the_common_one() -> None:
    mine = [
        log_key("shop__train", "scheduled__1", "train", None, 1),
        log_key("shop__features", "scheduled__1", "extract", 3, 1),
        log_key(RETAIN_DAG, "scheduled__1", "retain.shop", None, 1),
    ]
    others = [
        log_key("shop2__train", "scheduled__1", "train", None, 1),
        log_key("my_shop__train", "scheduled__1", "train", None, 1),
        log_key(RETAIN_DAG, "scheduled__1", "retain.shop2", None, 1),
        log_key("shop__mine", "scheduled__1", "train", None, 1),
        "logs/dag_id=shop__train/notes.txt",
    ]
    assert sorted(unit.place for unit in units_of(*mine, *others)) == sorted(
        [
            "logs/dag_id=shop__train/run_id=scheduled__1/",
            "logs/dag_id=shop__features/run_id=scheduled__1/",
            f"logs/dag_id={RETAIN_DAG}/run_id=scheduled__1/task_id=retain.shop/",
        ]
    )


def test_the_names_of_files_tell_which_bundles_answered_and_which_stages_ran() -> None:
    short = HEX[:16]
    (hour,) = units_of(
        *(
            f"shop/predictions/2026-01-01/07/pod-1-{n:08d}-{name}.parquet"
            for n, name in enumerate((short, "c" * 16))
        )
    )
    assert hour.tells == {short, "c" * 16}
    (day,) = units_of("shop/scores/2026-01-01/00/1-0-of-2-0.parquet")
    assert day.tells == {""}
    (run,) = units_of("shop/runs/manual__1/extract.0.1.json", "shop/runs/manual__1/train.1.json")
    assert run.tells == {"extract", "train"}
    (log,) = units_of(log_key("shop__train", "scheduled__1", "train", None, 1))
    assert log.tells == {"dag_id=shop__train"}


def test_another_lifecycle_whose_name_begins_alike_is_left_alone() -> None:
    assert units_of(f"shop_2/bundles/{HEX}/manifest.json", f"shop2/cache/train/{HEX}.json") == []


def test_a_unit_is_as_young_as_the_last_of_its_objects() -> None:
    store = AgedStore()
    for name in ("manifest.json", "model.onnx"):
        store.put(f"shop/bundles/{HEX}/{name}", b"12")
        store.now += timedelta(days=1)
    (unit,) = contents(store, "shop")
    assert (unit.objects, unit.bytes, unit.newest) == (2, 4, store.now - timedelta(days=1))
    assert unit.name == HEX
