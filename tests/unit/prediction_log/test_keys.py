"""Keys of the prediction log, and its sample."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from windtunnel.objects import check_key
from windtunnel.prediction_log.keys import (
    bundle_of,
    hour_folder,
    hour_folders,
    object_key,
    short,
    writer_name,
)  # fmt: skip
from windtunnel.prediction_log.sampling import takes, threshold
from windtunnel.serving.prediction_id import prediction_id

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DIGEST = "sha256:" + "0123456789abcdef" * 4


def id_at(moment: datetime, tail: str = "ffffffff") -> str:
    """The id of a prediction at that moment."""
    head = f"{round(moment.timestamp() * 1000):012x}"
    return f"{head[:8]}-{head[8:]}-7000-8000-0000{tail}"


def test_an_hour_ends_where_the_next_begins() -> None:
    assert hour_folder("demo", NOON) == "demo/predictions/2026-11-24/12"
    assert hour_folder("demo", NOON - timedelta(microseconds=1)) == "demo/predictions/2026-11-24/11"
    india = datetime(2026, 11, 25, 0, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert hour_folder("demo", india) == "demo/predictions/2026-11-24/19"


@pytest.mark.parametrize(
    ("start", "minutes", "hours"),
    [(NOON, 60, ["12"]), (NOON, 61, ["12", "13"]), (NOON - timedelta(minutes=1), 1, ["11"]), (NOON, 0, [])],
)
def test_a_window_has_the_hours_that_it_touches(start: datetime, minutes: int, hours: list[str]) -> None:
    folders = hour_folders("demo", start, start + timedelta(minutes=minutes))
    assert [folder.rpartition("/")[2] for folder in folders] == hours


@pytest.mark.parametrize("host", ["flight-delay-6c9-x2x", "../../etc", "a/b", "ünï", "", "h" * 5000])
def test_any_host_makes_a_key(host: str) -> None:
    key = object_key("demo", 495_828, writer_name(host, 255), 7, DIGEST)
    assert check_key(key) == key
    assert key.startswith("demo/predictions/2026-07-25/12/")
    assert key.endswith(f"-ff-00000007-{DIGEST[7:23]}.parquet")
    assert bundle_of(key) == short(DIGEST) == DIGEST[7:23]


@pytest.mark.parametrize(
    "name",
    ["pod-1-00000007.parquet", "notes.txt", f"pod-{'0' * 15}.parquet", f"pod-{'g' * 16}.parquet", "0" * 16],
)
def test_a_name_that_tells_of_no_bundle_is_none_of_ours(name: str) -> None:
    assert bundle_of(f"demo/predictions/2026-07-25/12/{name}") is None


def test_the_sample_is_the_asked_share_and_nested() -> None:
    ids = [prediction_id() for _ in range(20_000)]
    taken = {share: {one for one in ids if takes(one, threshold(share))} for share in (0.0, 0.1, 0.3, 1.0)}
    assert taken[0.0] == set()
    assert taken[1.0] == set(ids)
    assert taken[0.1] < taken[0.3]
    # four standard deviations
    assert abs(len(taken[0.3]) / len(ids) - 0.3) < 4 * (0.3 * 0.7 / len(ids)) ** 0.5


def test_the_last_id_is_in_a_whole_sample_only() -> None:
    assert takes(id_at(NOON, "ffffffff"), threshold(1))
    assert not takes(id_at(NOON, "ffffffff"), threshold(0.9999999))
    assert not takes(id_at(NOON, "00000000"), threshold(0.0))
    assert takes(id_at(NOON, "00000000"), threshold(0.001))
