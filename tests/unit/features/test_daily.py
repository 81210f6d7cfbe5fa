from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError, IntegrityError, RequestError, TemporaryError
from windtunnel.features.daily import DailyFiles, Sidecar, days_between, days_of, digest_of, in_groups, span

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

DAY = date(2024, 2, 28)
FRAME = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})


@pytest.fixture
def files(store: ObjectStore) -> DailyFiles:
    return DailyFiles(store, "demo/partitions/orders")


@pytest.mark.parametrize("end", [{}, {"end": "2013-02-30"}, {"end": None}])
def test_a_day_that_is_none_is_refused(end: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=r"'end' is .*, not a day; write it as"):
        days_of({"start": "2013-02-01", **end})


def test_what_is_written_is_read(files: DailyFiles) -> None:
    sidecar = files.write(DAY, FRAME, "sha256:raw", quarantined=2)
    assert files.sidecar(DAY) == sidecar
    assert (sidecar.rows, sidecar.quarantined, sidecar.input) == (3, 2, "sha256:raw")
    assert files.read(DAY, sidecar).equals(FRAME)


def test_equal_frames_give_equal_digests(files: DailyFiles) -> None:
    first = files.write(DAY, FRAME, "sha256:raw")
    assert files.write(DAY + timedelta(days=1), FRAME.clone(), "sha256:raw").digest == first.digest


def test_a_file_that_is_not_what_its_sidecar_names_is_refused(files: DailyFiles) -> None:
    sidecar = files.write(DAY, FRAME, "sha256:raw")
    files.store.put(files.key(DAY), b"something else")
    with pytest.raises(IntegrityError, match=r"2024-02-28\.parquet"):
        files.read(DAY, sidecar)


class Rewriting(DailyFiles):
    """Somebody writes the day anew just before each of the first `times` readings of its file."""

    def __init__(self, store: ObjectStore, times: int, at: str = "both") -> None:
        super().__init__(store, "demo/partitions/orders")
        self.times = times
        self.at = at

    def _get(self, day: date) -> bytes:
        if self.times > 0:
            self.times -= 1
            other = DailyFiles(self.store, self.prefix)
            if self.at == "quarantine":
                other.write_unreadable(day, "sha256:torn")
            else:
                other.write(day, FRAME.with_columns(c=pl.lit(self.times)), f"sha256:{self.times}")
        return super()._get(day)


def test_a_day_that_was_written_anew_comes_in_its_new_form_with_its_new_sidecar(store: ObjectStore) -> None:
    files = Rewriting(store, times=1)
    listed = files.write(DAY, FRAME, "sha256:raw")
    data, sidecar = files.read_current(DAY, listed)
    assert sidecar == files.sidecar(DAY) != listed
    assert pl.read_parquet(data)["c"].to_list() == [0, 0, 0]


def test_a_day_that_was_written_anew_is_a_reason_to_try_again_where_it_must_be_the_old_one(
    store: ObjectStore,
) -> None:
    files = Rewriting(store, times=1)
    listed = files.write(DAY, FRAME, "sha256:raw")
    with pytest.raises(TemporaryError, match=r"2024-02-28\.parquet: the day was written anew"):
        files.read(DAY, listed)


def test_a_day_that_never_stands_still_is_left_for_a_retry(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.features.daily._PAUSES_SECONDS", (0.0, 0.0))
    files = Rewriting(store, times=99)
    listed = files.write(DAY, FRAME, "sha256:raw")
    with pytest.raises(TemporaryError, match="written anew while it was read"):
        files.read_current(DAY, listed)


def test_a_day_that_went_into_quarantine_since_has_no_bytes(store: ObjectStore) -> None:
    files = Rewriting(store, times=1, at="quarantine")
    listed = files.write(DAY, FRAME, "sha256:raw")
    data, sidecar = files.read_current(DAY, listed)
    assert (data, sidecar.present) == (b"", False)


def test_a_day_is_current_when_it_was_made_of_the_same_and_its_file_is_there(files: DailyFiles) -> None:
    sidecar = files.write(DAY, FRAME, "sha256:raw")
    assert files.unchanged(DAY, "sha256:raw") == sidecar
    assert files.unchanged(DAY, "sha256:other") is None
    files.store.delete(files.key(DAY))
    assert files.unchanged(DAY, "sha256:raw") is None
    assert files.write_unreadable(DAY, "sha256:torn") == files.unchanged(DAY, "sha256:torn")


def test_a_file_without_a_sidecar_was_not_finished(files: DailyFiles) -> None:
    files.store.put(files.key(DAY), b"half of it")
    assert files.known_days() == set()
    assert files.sidecars([DAY]) == {}


def test_an_unreadable_day_is_known_and_has_the_columns_of_another(files: DailyFiles) -> None:
    files.write(DAY, FRAME, "sha256:raw")
    unreadable = DAY + timedelta(days=1)
    files.write_unreadable(unreadable, "sha256:torn")
    assert files.known_days() == {DAY, unreadable}
    assert files.sidecars([DAY, unreadable]).keys() == {DAY}
    assert files.rows([unreadable]).equals(FRAME.clear())


def test_without_a_readable_day_there_are_no_columns(files: DailyFiles) -> None:
    files.write_unreadable(DAY, "sha256:torn")
    with pytest.raises(DataError, match="no day can be read"):
        files.rows([DAY])


def test_a_column_that_came_later_is_null_before(files: DailyFiles) -> None:
    files.write(DAY, FRAME, "sha256:1")
    files.write(DAY + timedelta(days=1), FRAME.with_columns(c=pl.lit(1.5)), "sha256:2")
    assert files.rows(days_between(DAY, DAY + timedelta(days=1)))["c"].to_list() == [None] * 3 + [1.5] * 3


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 12))
def test_groups_hold_every_day_once_in_order_and_are_small(sizes: list[int], limit: int) -> None:
    days = {DAY + timedelta(days=n): Sidecar("sha256:0", 1, size, "") for n, size in enumerate(sizes)}
    groups = list(in_groups(days, limit))
    assert [day for group in groups for day in group] == list(days)
    assert all(len(group) == 1 or sum(s.bytes for s in group.values()) <= limit for group in groups)
    assert all(groups)


def test_days_cross_a_leap_day() -> None:
    assert [str(day) for day in days_between(DAY, DAY + timedelta(days=2))] == [
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
    ]


def test_no_days_are_refused() -> None:
    with pytest.raises(DataError, match="no day from 2024-02-28 to 2024-02-27"):
        days_between(DAY, DAY - timedelta(days=1))


@given(st.sets(st.integers(0, 40)))
def test_a_span_names_exactly_its_days(offsets: set[int]) -> None:
    days = {DAY + timedelta(days=offset) for offset in offsets}
    named: set[date] = set()
    for part in filter(None, span(days).split(", ")):
        first, _, last = part.partition("..")
        named |= set(days_between(date.fromisoformat(first), date.fromisoformat(last or first)))
    assert named == days


def test_a_digest_over_files_sees_which_day_has_which(files: DailyFiles) -> None:
    one, two = files.write(DAY, FRAME, ""), files.write(DAY, FRAME.head(1), "")
    next_day = DAY + timedelta(days=1)
    assert digest_of({"a": {DAY: one, next_day: two}}) == digest_of({"a": {next_day: two, DAY: one}})
    assert digest_of({"a": {DAY: one, next_day: two}}) != digest_of({"a": {DAY: two, next_day: one}})
