from __future__ import annotations

from datetime import timedelta

import obstore
import pytest
from aged_store import AgedStore

from windtunnel.errors import StoreError
from windtunnel.retention.contents import contents
from windtunnel.retention.sweep import sweep, tally
from windtunnel.spec.log_keys import log_key

HEX = "ab" * 32
BUNDLE = [f"shop/bundles/{HEX}/{name}" for name in ("golden.json", "manifest.json", "model.onnx")]
DAY = [f"shop/features/customer/2026-01-01.{ending}" for ending in ("json", "parquet")]


class Breaking(AgedStore):
    """Breaks after so many deletions."""

    left = 1_000

    def delete(self, key: str) -> None:
        if not self.left:
            raise StoreError("the object store failed")
        self.left -= 1
        super().delete(key)


def filled(*keys: str) -> Breaking:
    store = Breaking()
    for key in keys:
        store.put(key, b"1234")
    return store


def test_units_go_whole_and_nothing_else_does() -> None:
    store = filled(
        *BUNDLE, *DAY, "shop/features/customer/2026-01-02.json", f"shop/bundles/{HEX[::-1]}/manifest.json"
    )
    gone = [unit for unit in contents(store, "shop") if unit.name in (HEX, "2026-01-01.")]
    assert sweep(store, "shop", gone) == gone
    assert store.keys() == {
        "shop/features/customer/2026-01-02.json",
        f"shop/bundles/{HEX[::-1]}/manifest.json",
    }
    assert tally(gone).to_json() == {
        "bundles": {"objects": 3, "bytes": 12},
        "features": {"objects": 2, "bytes": 8},
    }


@pytest.mark.parametrize("keys", [BUNDLE, DAY])
@pytest.mark.parametrize("deletions", [1, 2])
def test_what_is_left_of_a_sweep_that_broke_off_does_not_look_whole_and_goes_next_time(
    keys: list[str], deletions: int
) -> None:
    store = filled(*keys)
    store.left = deletions if len(keys) > deletions else 1
    with pytest.raises(StoreError):
        sweep(store, "shop", contents(store, "shop"))
    left = store.keys()
    assert left
    assert not {f"shop/bundles/{HEX}/manifest.json", DAY[0]} & left
    store.left = 1_000
    sweep(store, "shop", contents(store, "shop"))
    assert store.keys() == set()


def test_where_a_bundle_stays_its_snapshot_does() -> None:
    """Which that is, nobody asks at that moment: all stay until the next sweep."""
    snapshot = [name.replace("bundles", "snapshots") for name in BUNDLE]
    store = filled(*BUNDLE, *snapshot, *DAY)
    units = contents(store, "shop")
    store.now += timedelta(seconds=1)
    store.put(BUNDLE[1], b"1234")
    assert [unit.kind for unit in sweep(store, "shop", units)] == ["features"]
    assert store.keys() == {*BUNDLE, *snapshot}


def test_bundles_go_before_what_takes_long() -> None:
    store = filled(*DAY, *BUNDLE)
    assert [unit.kind for unit in sweep(store, "shop", contents(store, "shop"))] == ["bundles", "features"]


@pytest.mark.parametrize("name", ["notes~", "why?", "Übersicht.txt", "mine/model.onnx"])
def test_what_somebody_put_beside_a_unit_stays_when_that_goes(name: str) -> None:
    store = filled(*BUNDLE, *DAY)
    obstore.put(store._backend, f"shop/bundles/{HEX}/{name}", b"mine")
    units = [unit for unit in contents(store, "shop") if unit.kind != "other"]
    assert [unit.kind for unit in sweep(store, "shop", units)] == ["bundles", "features"]
    assert len(store.keys()) == 1


def test_of_an_hour_of_predictions_only_the_logs_files_go() -> None:
    hour = "shop/predictions/2026-01-01/05"
    others = {f"{hour}/notes.txt", f"{hour}/more/b.parquet"}
    store = filled(f"{hour}/a.parquet", *others)
    (unit,) = [unit for unit in contents(store, "shop") if unit.kind == "predictions"]
    sweep(store, "shop", [unit])
    assert store.keys() == others


def test_the_log_of_a_task_goes_with_what_was_said_about_its_pod() -> None:
    key = log_key("shop__train", "scheduled__1", "train", None, 1)
    store = filled(key, f"{key}.pod.log", log_key("shop__train", "scheduled__2", "train", None, 1))
    units = [unit for unit in contents(store, "shop") if "scheduled__1" in unit.place]
    sweep(store, "shop", units)
    assert store.keys() == {log_key("shop__train", "scheduled__2", "train", None, 1)}


def test_a_bundle_that_was_written_again_since_it_was_listed_stays() -> None:
    store = filled(*BUNDLE)
    units = contents(store, "shop")
    store.now += timedelta(seconds=1)
    store.put(BUNDLE[1], b"1234")
    assert sweep(store, "shop", units) == []
    assert store.keys() == set(BUNDLE)


@pytest.mark.parametrize(
    "key", [f"shop/cache/train/{HEX}.json", "shop/partitions/orders/2026-01-01.parquet", DAY[1]]
)
def test_what_was_written_again_since_it_was_listed_stays(key: str) -> None:
    store = filled(key)
    units = contents(store, "shop")
    store.now += timedelta(seconds=1)
    store.put(key, b"1234")
    assert sweep(store, "shop", units) == []
    assert store.keys() == {key}
