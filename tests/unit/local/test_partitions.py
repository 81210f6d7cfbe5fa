from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import NotFoundError, RequestError
from windtunnel.local.partitions import choose_days, missing_sources, present_days
from windtunnel.spec import Lifecycle, load_lifecycle

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.objects import ObjectStore


@pytest.fixture
def lifecycle(lifecycle_directory: Path) -> Lifecycle:
    return load_lifecycle(lifecycle_directory)


def put(store: ObjectStore, *days: int) -> None:
    for day in days:
        store.put(f"sources/orders/2026-01-{day:02d}.parquet", b"")


def test_days_are_read_from_the_names(store: ObjectStore) -> None:
    put(store, 1, 3)
    store.put("sources/orders/_SUCCESS", b"")
    store.put("sources/orders/20260102.parquet", b"")
    store.put("sources/orders/2026-W01-5.parquet", b"")
    store.put("sources/orders_old/2026-01-09.parquet", b"")
    days = present_days(store, "sources/orders/{date}.parquet")
    assert days == {date(2026, 1, 1), date(2026, 1, 3)}


@pytest.mark.parametrize("uri", ["{date}.parquet", "a/{date}/rows.parquet", "a/day={date}.parquet"])
def test_the_date_may_stand_anywhere(store: ObjectStore, uri: str) -> None:
    store.put(uri.replace("{date}", "2026-01-05"), b"")
    assert present_days(store, uri) == {date(2026, 1, 5)}


def test_without_dates_a_run_takes_what_is_there(store: ObjectStore, lifecycle: Lifecycle) -> None:
    put(store, 4, 5, 9)
    assert choose_days(store, lifecycle, None, None) == (date(2026, 1, 4), date(2026, 1, 9))
    assert choose_days(store, lifecycle, date(2026, 1, 5), None) == (date(2026, 1, 5), date(2026, 1, 9))


def test_without_any_partition_it_says_where_they_belong(store: ObjectStore, lifecycle: Lifecycle) -> None:
    with pytest.raises(NotFoundError, match=r"'orders' has no partitions.*sources/orders/\{date\}\.parquet"):
        choose_days(store, lifecycle, None, None)


def test_sources_without_a_common_day_are_told_with_what_they_have(
    store: ObjectStore, lifecycle: Lifecycle
) -> None:
    put(store, 4, 5)
    store.put("sources/returns/2026-01-07.parquet", b"")
    (orders,) = lifecycle.spec.sources.values()
    returns = orders.model_copy(update={"uri": "sources/returns/{date}.parquet"})
    spec = lifecycle.spec.model_copy(update={"sources": {"orders": orders, "returns": returns}})
    told = "no day in common: orders has 2026-01-04 to 2026-01-05, returns has 2026-01-07 to 2026-01-07"
    with pytest.raises(NotFoundError, match=told):
        choose_days(store, lifecycle.model_copy(update={"spec": spec}), None, None)


def test_start_after_end_is_refused(store: ObjectStore, lifecycle: Lifecycle) -> None:
    with pytest.raises(RequestError, match="is after end"):
        choose_days(store, lifecycle, date(2026, 1, 5), date(2026, 1, 4))


def test_a_source_is_missing_when_a_wanted_day_is(store: ObjectStore, lifecycle: Lifecycle) -> None:
    assert missing_sources(store, lifecycle, None) == ["orders"]
    put(store, 1, 2)
    assert missing_sources(store, lifecycle, None) == []
    assert missing_sources(store, lifecycle, (date(2026, 1, 1), date(2026, 1, 2))) == []
    assert missing_sources(store, lifecycle, (date(2026, 1, 1), date(2026, 1, 3))) == ["orders"]
