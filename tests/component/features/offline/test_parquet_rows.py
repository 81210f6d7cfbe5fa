"""Which files are opened, and in which order rows are in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pytest
from s3_server import s3_server

from windtunnel.errors import DataError, NotFoundError, WindtunnelError
from windtunnel.features.offline.offline_write import write_rows
from windtunnel.features.offline.parquet_rows import list_files, scan
from windtunnel.features.offline.place import Place

if TYPE_CHECKING:
    from pathlib import Path

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 400
DAY = timedelta(days=1)


def numbers(rows: pl.LazyFrame) -> list[int]:
    return rows.collect()["n"].to_list()


def daily(folder: Path, name: str, sidecars: bool = False) -> None:
    """400 files, one row at noon each."""
    folder.mkdir()
    for number in range(DAYS):
        when = FIRST + number * DAY
        stem = folder / name.format(when.date())
        rows = pl.DataFrame({"n": [number], "event_timestamp": [when + timedelta(hours=12)]})
        rows.write_parquet(f"{stem}.parquet")
        if sidecars:
            stem.with_name(f"{when.date()}.json").write_text("{}")


def ruin_all_but(folder: Path, first: date, last: date) -> int:
    """Nothing can be read of the other files; how many were left whole."""
    whole = 0
    for file in folder.glob("*.parquet"):
        if first <= date.fromisoformat(file.name[:10]) <= last:
            whole += 1
        else:
            file.write_bytes(b"ruined")
    return whole


def test_seven_days_of_four_hundred_open_seven_files(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    daily(folder, "{}_000001_0123456789abcdef")
    first, last = FIRST + 100 * DAY, FIRST + 107 * DAY - timedelta(microseconds=1)
    assert ruin_all_but(folder, first.date(), last.date()) == 7
    assert numbers(scan(Place(str(folder)), ["n"], first, last)) == list(range(100, 107))
    assert numbers(scan(Place(f"{folder}/*.parquet"), ["n"], first, last)) == list(range(100, 107))
    with pytest.raises(DataError, match="cannot be read as parquet"):
        scan(Place(str(folder)), ["n"], first, last + 2 * DAY)


def test_days_of_the_platform_reach_as_far_as_its_checks_allow(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    daily(folder, "{}", sidecars=True)
    first, last = FIRST + 100 * DAY, FIRST + 107 * DAY - timedelta(microseconds=1)
    # Rows of a day may be dated until three days later, and from 14 hours before.
    assert ruin_all_but(folder, (first - 3 * DAY).date(), (last + DAY).date()) == 11
    assert set(range(100, 107)) <= set(numbers(scan(Place(str(folder)), ["n"], first, last)))


def test_a_name_alone_promises_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    daily(folder, "{}")
    rows = scan(Place(str(folder)), ["n"], FIRST, FIRST + DAY)
    assert rows.select(pl.len()).collect().item() == DAYS, "statistics in the files decide"


def test_no_file_of_the_window_gives_no_rows_but_columns(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    daily(folder, "{}_000001_0123456789abcdef")
    rows = scan(Place(str(folder)), ["n"], FIRST - 9 * DAY, FIRST - 8 * DAY).collect()
    assert rows.schema == {"n": pl.Int64}
    assert rows.is_empty()


def test_places(tmp_path: Path) -> None:
    nested = tmp_path / "a b%20" / "day=2025-01-01"
    nested.mkdir(parents=True)
    pl.DataFrame({"n": [1]}).write_parquet(nested / "x.parquet")
    assert scan(Place(str(tmp_path))).collect().to_dicts() == [{"n": 1, "day": date(2025, 1, 1)}]
    assert numbers(scan(Place((nested / "x.parquet").as_uri()))) == [1]
    assert numbers(scan(Place(f"{tmp_path}/**/*.parquet"))) == [1]
    with pytest.raises(NotFoundError, match="there are no parquet files; check the source's path"):
        scan(Place(str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="there is no column 'm'; the files have n"):
        scan(Place(str(nested / "x.parquet")), ["m"])


def test_names_of_folders_that_look_like_globs_or_uris(tmp_path: Path) -> None:
    folder = tmp_path / "a [1] view?#x%20y"
    daily(folder, "{}", sidecars=True)
    first = FIRST + 100 * DAY
    for uri in (str(folder), folder.as_uri(), f"{folder.as_uri()}/{first.date()}.parquet"):
        assert 100 in numbers(scan(Place(uri), ["n"], first, first + DAY)), uri


def test_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"n": [1, 2, 3], "event_timestamp": [FIRST, FIRST + DAY, FIRST + DAY]})
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        place = Place("s3://bucket/views/stats")
        assert len(write_rows(place, table, "event_timestamp")) == 2
        assert write_rows(place, table, "event_timestamp") == []
        assert numbers(scan(place)) == [1, 2, 3]
        server.reads.clear()
        assert numbers(scan(place, ["n"], FIRST, FIRST + timedelta(hours=1))) == [1]
        assert {name.rpartition("/")[2][:10] for name in server.reads} == {"2025-01-01"}
        assert numbers(scan(Place("s3://bucket/views/*/2025-01-02*.parquet"))) == [2, 3]
        assert numbers(scan(Place("s3://bucket/views/*/2025-01-0?_*.parquet"))) == [1, 2, 3]
        assert numbers(scan(Place("s3://bucket/views/stats/2025-01-0[2-9]_*.parquet"))) == [2, 3]
        assert numbers(scan(Place("s3://bucket/views/stats/2025-01-0[!2]_*.parquet"))) == [1]
        with pytest.raises(NotFoundError, match="no parquet files"):
            scan(Place("s3://bucket/views/stats/[!][.parquet"))
        assert numbers(scan(Place(list_files(place).files[0]))) == [1]
        with pytest.raises(NotFoundError, match="no parquet files"):
            scan(Place("s3://bucket/views/stat"))
        spaced = Place("s3://bucket/a view/of 2025")
        assert len(write_rows(spaced, table, "event_timestamp")) == 2
        assert numbers(scan(spaced)) == [1, 2, 3]
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
        there = Place("s3://bucket/views/stats", server.environment["AWS_ENDPOINT_URL_S3"])
        assert numbers(scan(there)) == [1, 2, 3]
        server.fault = HTTPStatus.FORBIDDEN
        with pytest.raises(WindtunnelError, match="the object store"):
            scan(there)
        assert "test-secret" not in repr(Place("s3://b", "", {"AWS_SECRET_ACCESS_KEY": "test-secret"}))
