"""`AsofOfflineStore` through Feast's public API, with what users and their files may come with."""

from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.data_format import ParquetFormat
from feast.errors import FeastEntityDFMissingColumnsError, SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp

from windtunnel.errors import DataError
from windtunnel.features.offline.offline_store import AsofOfflineStore
from windtunnel.features.online.materialization import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DRIVER = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
RATE = [Field(name="rate", dtype=Float64)]


def source(path: Path, **options: Any) -> FileSource:
    return FileSource(
        path=str(path),
        file_format=ParquetFormat(),
        timestamp_field=options.pop("timestamp_field", "event_timestamp"),
        **options,
    )


def view(path: Path, name: str = "stats", schema: list[Field] | None = None, **options: Any) -> FeatureView:
    return FeatureView(
        name=name,
        entities=options.pop("entities", [DRIVER]),
        ttl=options.pop("ttl", None),
        schema=schema or RATE,
        source=source(path, **options),
    )


@pytest.fixture
def feast_store(tmp_path: Path) -> Callable[..., FeatureStore]:
    def apply(*objects: Any) -> FeatureStore:
        store = FeatureStore(
            config=RepoConfig(
                project="tests",
                provider="local",
                registry=str(tmp_path / "registry.pb"),
                offline_store={"type": "windtunnel.features.offline.offline_store.AsofOfflineStore"},
                online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
                batch_engine={"type": ENGINE},
                entity_key_serialization_version=3,
                repo_path=tmp_path,
            )
        )
        store.apply([DRIVER, *objects])
        return store

    return apply


def write(path: Path, **columns: Any) -> Path:
    """Rows at `path`; `event_timestamp` is noon unless given."""
    rows = pl.DataFrame(columns)
    if "event_timestamp" not in columns:
        rows = rows.with_columns(event_timestamp=pl.lit(NOON))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
    return path


def asked(*drivers: Any, at: datetime | None = NOON, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"driver": list(drivers), "event_timestamp": [at] * len(drivers), **columns})


def rates(store: FeatureStore, entity_rows: Any, *features: str, **options: Any) -> list[Any]:
    table = store.get_historical_features(entity_rows, list(features) or ["stats:rate"], **options).to_arrow()
    return list(table.column(table.num_columns - 1).to_pylist())


# ---- Entity rows in every form


@pytest.mark.parametrize(
    "form",
    [
        lambda rows, _: rows,
        lambda rows, _: pa.Table.from_pandas(rows),
        lambda rows, _: pl.from_pandas(rows),
        lambda rows, _: pl.from_pandas(rows).lazy(),
        lambda rows, folder: _stored(rows, folder / "asked.parquet"),
        lambda rows, folder: _stored(rows, folder / "asked.parquet").relative_to(folder),
    ],
    ids=["pandas", "arrow", "polars", "lazy", "path", "relative path"],
)
def test_entity_rows_come_in_many_forms(
    feast_store: Callable[..., FeatureStore], tmp_path: Path, form: Callable[..., Any]
) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1, 2], rate=[0.1, 0.2])))
    rows = form(asked(2, 3, 1), tmp_path)
    entity_rows = str(rows) if isinstance(rows, Path) else rows
    assert rates(store, entity_rows) == [0.2, None, 0.1]


def _stored(rows: pd.DataFrame, path: Path) -> Path:
    rows.to_parquet(path)
    return path


def test_an_s3_or_sql_string_that_is_no_parquet_is_named(
    feast_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1], rate=[0.1])))
    with pytest.raises(DataError, match=r"no parquet at 'SELECT driver FROM t'.*runs no SQL"):
        rates(store, "SELECT driver FROM t")


def test_columns_and_types_of_the_entity_rows_stay(
    feast_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1], rate=[0.1])))
    table = pa.table(
        {
            "driver": pa.array([1, 1], pa.int16()),
            "event_timestamp": pa.array([NOON, None], pa.timestamp("ms", "Asia/Tokyo")),
            "group": pa.array([0, 1], pa.int8()),
            "row": pa.array(["a", "b"], pa.dictionary(pa.int8(), pa.string())),
            "found": pa.array([[1], None], pa.list_(pa.int8())),
            "k0": pa.array([decimal.Decimal("1.5"), None], pa.decimal128(5, 2)),
            "event": pa.array([date(2026, 1, 1), None], pa.date32()),
            "moment": pa.array([b"x", b"y"], pa.large_binary()),
        }
    )
    answer = store.get_historical_features(table, ["stats:rate"]).to_arrow()
    assert answer.select(table.column_names).equals(table)
    assert answer["rate"].to_pylist() == [0.1, None]


def test_duplicates_order_and_index_stay(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1, 2], rate=[0.1, 0.2])))
    rows = asked(2, 1, 2, 1, 9, 2, label=list("abcdef"))
    rows.index = pd.Index([7, 7, 3, 1, 0, 2])
    answer = store.get_historical_features(rows, ["stats:rate"]).to_df()
    assert answer["label"].tolist() == list("abcdef")
    assert answer["rate"].tolist()[:4] == [0.2, 0.1, 0.2, 0.1]
    assert list(rows.columns) == ["driver", "event_timestamp", "label"], "the caller's rows are left alone"


@pytest.mark.parametrize("rows", [asked(), asked().astype({"driver": "int64"}), asked().astype(object)])
def test_no_entity_rows_give_no_rows(
    feast_store: Callable[..., FeatureStore], tmp_path: Path, rows: pd.DataFrame
) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1], rate=[0.1])))
    rows["event_timestamp"] = pd.to_datetime(rows["event_timestamp"], utc=True)
    answer = store.get_historical_features(rows, ["stats:rate"]).to_df()
    assert answer.empty
    assert list(answer.columns) == ["driver", "event_timestamp", "rate"]


@pytest.mark.parametrize(
    "moments",
    [
        ["2026-03-01T12:00:00Z"],
        ["2026-03-01 13:00:00+01:00"],
        [datetime(2026, 3, 1, 12)],
        [datetime.fromisoformat("2026-03-01T07:00:00-05:00")],
        [pd.Timestamp("2026-03-01T12:00:00.000000001Z")],
    ],
)
def test_moments_of_every_kind(
    feast_store: Callable[..., FeatureStore], tmp_path: Path, moments: list[Any]
) -> None:
    files = write(tmp_path / "a.parquet", driver=[1, 1], rate=[0.1, 0.2], event_timestamp=[NOON, NOON + HOUR])
    store = feast_store(view(files))
    for dtype in (None, object):
        rows = pd.DataFrame({"driver": [1], "event_timestamp": pd.Series(moments, dtype=dtype)})
        assert rates(store, rows) == [0.1]


def test_the_only_timestamp_is_the_moment(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1], rate=[0.1])))
    rows = asked(1).rename(columns={"event_timestamp": "asked_at"})
    assert rates(store, rows) == [0.1]
    with pytest.raises(DataError, match="more than one other timestamp"):
        rates(store, rows.assign(other=rows["asked_at"]))
    with pytest.raises(DataError, match="'event_timestamp' and no other timestamp"):
        rates(store, rows.drop(columns="asked_at"))


def test_mistakes_in_entity_rows_are_named(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1], rate=[0.1])))
    with pytest.raises(FeastEntityDFMissingColumnsError, match="driver"):
        rates(store, asked(1).drop(columns="driver"))
    twice = pa.Table.from_arrays(
        [pa.array([1]), pa.array([1]), pa.array([NOON])], ["driver", "driver", "event_timestamp"]
    )
    with pytest.raises(DataError, match="two columns 'driver'"):
        rates(store, twice)
    mixed = asked(1, 2, label=["a", {1}])
    with pytest.raises(DataError, match="cannot become an Arrow table"):
        rates(store, mixed)
    with pytest.raises(DataError, match=r"is int64|Int64.*not a timestamp|text that is no timestamp"):
        rates(store, asked(1).assign(event_timestamp="yesterday"))
    with pytest.raises(DataError, match="they are list"):
        AsofOfflineStore.get_historical_features(
            store.config, [store.get_feature_view("stats")], ["stats:rate"], [1], store.registry, "tests"
        )


# ---- Keys


@pytest.mark.parametrize(
    ("entity", "stored"),
    [
        (pa.int64(), pa.int32()),
        (pa.int8(), pa.uint64()),
        (pa.float64(), pa.int64()),
        (pa.int32(), pa.float32()),
        (pa.decimal128(24, 2), pa.int64()),
        (pa.decimal128(19, 0), pa.decimal128(24, 3)),
    ],
    ids=str,
)
def test_numbers_are_equal_whatever_stores_them(
    feast_store: Callable[..., FeatureStore], tmp_path: Path, entity: pa.DataType, stored: pa.DataType
) -> None:
    keys = pa.array([1, 2, 3], pa.int64())
    table = pa.table({"driver": keys.cast(stored), "rate": [0.1, 0.2, 0.3], "event_timestamp": [NOON] * 3})
    pq.write_table(table, tmp_path / "a.parquet")
    store = feast_store(view(tmp_path / "a.parquet"))
    rows = pa.table(
        {"driver": pa.array([2, 1, None, 7], pa.int64()).cast(entity), "event_timestamp": [NOON] * 4}
    )
    assert rates(store, rows) == [0.2, 0.1, None, None]


def test_a_fraction_is_no_integer(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1, 2], rate=[0.1, 0.2])))
    assert rates(store, asked(1.0, 1.5, float("inf"), float("nan"), 1e300)) == [0.1, None, None, None, None]


def test_text_is_no_number(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1], rate=[0.1])))
    with pytest.raises(
        DataError, match="'driver' is String in the entity rows and Int64 in the feature rows"
    ):
        rates(store, asked("1"))
    assert rates(store, asked(None, None)) == [None, None], "a column without a value has no type to speak of"


def test_text_keys_of_any_encoding(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    name = Entity(name="name", join_keys=["name"], value_type=ValueType.STRING)
    rows = pl.DataFrame({"name": ["é", "b"], "rate": [0.1, 0.2], "event_timestamp": [NOON] * 2})
    rows.with_columns(pl.col("name").cast(pl.Categorical)).write_parquet(tmp_path / "a.parquet")
    store = feast_store(name, view(tmp_path / "a.parquet", entities=[name]))
    for dtype in ("object", "string", "category"):
        entity_rows = pd.DataFrame(
            {"name": pd.Series(["b", "é", None, "c"], dtype=dtype), "event_timestamp": NOON}
        )
        assert rates(store, entity_rows) == [0.2, 0.1, None, None]


# ---- Names


def test_features_named_like_anything(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    """Like a key of another view, like the columns of timestamps, like names that the join uses inside."""
    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.INT64)
    names = [
        "driver",
        "event_timestamp",
        "known",
        "group",
        "row",
        "found",
        "k0",
        "event",
        "moment",
        "rank",
        "visible",
    ]
    rows = pl.DataFrame({name: [n] for n, name in enumerate(names)} | {"customer": [5], "at": [NOON]})
    rows = rows.with_columns(known=pl.lit(NOON))
    rows.write_parquet(tmp_path / "a.parquet")
    schema = [Field(name=name, dtype=UnixTimestamp if name == "known" else Int64) for name in [*names, "at"]]
    made = view(
        tmp_path / "a.parquet", schema=schema, entities=[customer], timestamp_field="at",
        created_timestamp_column="known",
    )  # fmt: skip
    store = feast_store(customer, made)
    entity_rows = pd.DataFrame({"customer": [5], "driver": [9], "event_timestamp": [NOON]})
    wanted = [f"stats:{name}" for name in names]
    answer = store.get_historical_features(entity_rows, wanted, full_feature_names=True).to_arrow()
    assert [answer[f"stats__{name}"][0].as_py() for name in names] == [
        NOON if name == "known" else n for n, name in enumerate(names)
    ]
    assert answer["driver"].to_pylist() == [9]
    with pytest.raises(DataError, match=r"'driver' would be in the answer twice.*full_feature_names=True"):
        store.get_historical_features(entity_rows, ["stats:driver"])


def test_field_mapping_and_join_key_map(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    files = write(tmp_path / "a.parquet", drv=[1, 2], r=[0.1, 0.2], t=[NOON, NOON], c=[NOON, NOON + HOUR])
    mapped = view(
        files,
        field_mapping={"drv": "driver", "r": "rate", "t": "at", "c": "known"},
        timestamp_field="at",
        created_timestamp_column="known",
    )
    twice = FeatureService(
        name="pairs",
        features=[
            mapped.with_name("first").with_join_key_map({"driver": "one"}),
            mapped.with_name("second").with_join_key_map({"driver": "other"}),
        ],
    )
    store = feast_store(mapped, twice)
    assert rates(store, asked(1, 2), filter_by_created_timestamp=True) == [0.1, None]
    rows = pd.DataFrame({"one": [1, 2], "other": [2, 9], "event_timestamp": [NOON + HOUR] * 2})
    answer = store.get_historical_features(rows, twice, full_feature_names=True).to_arrow()
    assert answer["first__rate"].to_pylist() == [0.1, 0.2]
    assert answer["second__rate"].to_pylist() == [0.2, None]
    store.materialize(NOON, NOON)
    online = store.get_online_features(["stats:rate"], [{"driver": 2}]).to_dict()
    assert online["rate"] == [0.2]


# ---- Values and files


def test_values_of_every_type_come_back(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    values = {
        "decimal": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2)),
        "list": pa.array([[1.0, None], None], pa.list_(pa.float64())),
        "text": pa.array(["é", None]),
        "bytes": pa.array([b"\x00", None]),
        "when": pa.array([NOON, None], pa.timestamp("ns", "UTC")),
        "day": pa.array([NOON.date(), None]),
        "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"a": 1}, None], pa.struct([("a", pa.int64())])),
        "vector": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        "code": pa.array(["x", None], pa.dictionary(pa.int32(), pa.string())),
        "short": pa.array([1, None], pa.int8()),
    }
    table = pa.table({"driver": [1, 2], "event_timestamp": [NOON] * 2, **values})
    pq.write_table(table, tmp_path / "a.parquet")
    schema = [Field(name=name, dtype=String) for name in values]
    store = feast_store(view(tmp_path / "a.parquet", schema=schema))
    answer = store.get_historical_features(asked(2, 1, 3), [f"stats:{name}" for name in values]).to_arrow()
    for name, stored in values.items():
        assert answer[name].to_pylist() == [None, stored[0].as_py(), None], name
        plain = pa.string() if name == "code" else stored.type
        assert answer[name].type == plain, name


def test_files_differ_in_columns_and_types(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    naive = NOON.replace(tzinfo=None)
    write(folder / "1.parquet", driver=pl.Series([1], dtype=pl.Int32), rate=[1], event_timestamp=[naive])
    write(folder / "2.parquet", event_timestamp=[NOON + HOUR], rate=[2.5], driver=[2], note=["x"])
    write(folder / "3.parquet", driver=[3], event_timestamp=pl.Series([NOON]).dt.cast_time_unit("ns"))
    (folder / "_SUCCESS").write_text("")
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "4.parquet").write_bytes(b"half")
    store = feast_store(view(folder, schema=[*RATE, Field(name="note", dtype=String)]))
    rows = asked(1, 2, 3, at=NOON + HOUR)
    assert rates(store, rows) == [1.0, 2.5, None]
    assert rates(store, rows, "stats:note") == [None, "x", None]
    write(folder / "5.parquet", driver=[1], rate=["much"])
    with pytest.raises(
        DataError, match=r"5.parquet: column 'rate' is String here and Float64 in .*1.parquet"
    ):
        rates(store, rows)


def test_problems_of_files_are_named(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = feast_store(view(tmp_path / "rows"))
    with pytest.raises(Exception, match="there are no parquet files"):
        rates(store, asked(1))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="rows: it cannot be read as parquet"):
        rates(store, asked(1))
    write(tmp_path / "rows" / "a.parquet", driver=[1], speed=[0.1])
    with pytest.raises(
        DataError, match=r"feature view 'stats'.*no column 'rate'; the files have driver, speed"
    ):
        rates(store, asked(1))
    write(tmp_path / "rows" / "a.parquet", driver=[1], rate=[0.1], event_timestamp=["noon"])
    with pytest.raises(DataError, match="column 'event_timestamp' is String, not a timestamp"):
        rates(store, asked(1))
    write(tmp_path / "rows" / "a.parquet", driver=[[1]], rate=[0.1])
    with pytest.raises(DataError, match="'driver' is Int64 in the entity rows and List"):
        rates(store, asked(1))


@pytest.mark.parametrize("keys", [pl.Int64, pl.String, pl.Null])
def test_an_empty_view_knows_nothing(
    feast_store: Callable[..., FeatureStore], tmp_path: Path, keys: Any
) -> None:
    rows = pl.DataFrame(
        {"driver": [], "rate": [], "event_timestamp": []},
        schema={"driver": keys, "rate": pl.Float64, "event_timestamp": pl.Datetime("us", "UTC")},
    )
    rows.write_parquet(tmp_path / "a.parquet")
    store = feast_store(view(tmp_path / "a.parquet", ttl=HOUR))
    assert rates(store, asked(1, 2)) == [None, None]


# ---- ttl, late rows, views without entities


def test_both_ends_of_the_ttl_count(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1], rate=[0.1]), ttl=HOUR))
    tick = timedelta(microseconds=1)
    moments = [NOON - tick, NOON, NOON + HOUR, NOON + HOUR + tick]
    rows = pd.DataFrame({"driver": 1, "event_timestamp": moments})
    assert rates(store, rows) == [None, 0.1, 0.1, None]
    fine = pd.DataFrame({"driver": 1, "event_timestamp": [pd.Timestamp(NOON + HOUR) + pd.Timedelta(1, "ns")]})
    assert rates(store, fine) == [None], "a nanosecond too old"


@pytest.mark.parametrize("ttl", [timedelta.max, timedelta(days=200_000), timedelta(0)])
def test_a_ttl_may_be_longer_than_time(
    feast_store: Callable[..., FeatureStore], tmp_path: Path, ttl: timedelta
) -> None:
    files = write(tmp_path / "a.parquet", driver=[1], rate=[0.1])
    store = feast_store(view(files))
    made = view(files, ttl=None)
    made.ttl = ttl
    job = AsofOfflineStore.get_historical_features(
        store.config, [made], ["stats:rate"], asked(1), store.registry, "tests"
    )
    assert job.to_arrow()["rate"].to_pylist() == [0.1]


def test_a_late_correction_does_not_leak(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    files = write(
        tmp_path / "a.parquet",
        driver=[1, 1, 1],
        rate=[0.1, 0.2, 0.3],
        event_timestamp=[NOON, NOON + HOUR, NOON],
        created=[NOON, NOON + 5 * HOUR, NOON + 3 * HOUR],
    )
    store = feast_store(view(files, created_timestamp_column="created"))
    rows = pd.DataFrame({"driver": 1, "event_timestamp": [NOON + n * HOUR for n in (2, 3, 4, 5)]})
    assert rates(store, rows) == [0.2] * 4, "Feast's default"
    assert rates(store, rows, filter_by_created_timestamp=True) == [0.1, 0.3, 0.3, 0.2]


def test_a_view_without_entities(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    files = write(tmp_path / "a.parquet", rate=[0.1, 0.2], event_timestamp=[NOON, NOON + HOUR])
    store = feast_store(view(files, entities=[]))
    rows = pd.DataFrame({"event_timestamp": [NOON + HOUR, NOON, NOON - HOUR]})
    assert rates(store, rows) == [0.2, 0.1, None]
    store.materialize(NOON - HOUR, NOON + HOUR)
    assert store.get_online_features(["stats:rate"], [{"driver": 1}]).to_dict()["rate"] == [0.2]


def test_without_entity_rows_all_entities_of_the_window_answer(
    feast_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
    first = write(
        tmp_path / "a.parquet",
        driver=[1, 1, 2, 3, None],
        rate=[0.1, 0.2, 0.3, 0.4, 0.5],
        event_timestamp=[NOON, NOON + HOUR, NOON, NOON - 5 * HOUR, NOON],
    )
    second = write(tmp_path / "b.parquet", customer=["x"], size=[7])
    other = view(second, "sizes", [Field(name="size", dtype=Int64)], entities=[customer])
    store = feast_store(customer, view(first), other)
    job = store.get_historical_features(None, ["stats:rate"], start_date=NOON, end_date=NOON + HOUR)
    assert job.to_arrow().to_pylist() == [
        {"driver": 1, "event_timestamp": NOON + HOUR, "rate": 0.2},
        {"driver": 2, "event_timestamp": NOON + HOUR, "rate": 0.3},
    ]
    both = store.get_historical_features(
        None, ["stats:rate", "sizes:size"], start_date=NOON, end_date=NOON + HOUR
    )
    assert [
        (row["driver"], row["customer"], row["rate"], row["size"]) for row in both.to_arrow().to_pylist()
    ] == [
        (1, None, 0.2, None),
        (2, None, 0.3, None),
        (None, "x", None, 7),
    ]


def test_on_demand_views_are_computed(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    stats = view(write(tmp_path / "a.parquet", driver=[1, 2], rate=[0.1, 0.2]))
    request = RequestSource(name="request", schema=[Field(name="factor", dtype=Float64)])

    @on_demand_feature_view(sources=[stats, request], schema=[Field(name="scaled", dtype=Float64)])
    def scaling(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"scaled": inputs["rate"] * inputs["factor"]})

    with pytest.warns(RuntimeWarning, match="experimental"):
        store = feast_store(stats, scaling)
    rows = asked(2, 1, factor=[10.0, 100.0])
    assert rates(store, rows, "scaling:scaled") == [2.0, 10.0]


# ---- Saved datasets, pulls, writes


@pytest.mark.parametrize("name", ["saved", "saved.parquet"])
def test_saved_datasets(feast_store: Callable[..., FeatureStore], tmp_path: Path, name: str) -> None:
    store = feast_store(view(write(tmp_path / "a.parquet", driver=[1, 2], rate=[0.1, 0.2])))
    storage = SavedDatasetFileStorage(path=str(tmp_path / name))

    def save(*drivers: int, **options: Any) -> pd.DataFrame:
        job = store.get_historical_features(asked(*drivers), ["stats:rate"])
        with pytest.warns(RuntimeWarning, match="experimental"):
            return store.create_saved_dataset(job, "saved", storage, **options).to_df()

    assert save(1, 2, 3)["driver"].tolist() == [1, 2, 3]
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        save(1)
    assert save(2, allow_overwrite=True)["rate"].tolist() == [0.2]


def pull_latest(store: FeatureStore, files: Path, first: datetime, last: datetime, **options: Any) -> Any:
    return AsofOfflineStore.pull_latest_from_table_or_query(
        store.config, source(files), options.get("keys", ["driver"]), ["rate"], "event_timestamp",
        options.get("created"), first, last,
    )  # fmt: skip


def test_pulls(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    files = write(
        tmp_path / "a.parquet",
        driver=[1, 1, 2, None, 2],
        rate=[0.1, 0.2, 0.3, 0.4, 0.5],
        event_timestamp=[NOON, NOON + HOUR, NOON, NOON, NOON + 2 * HOUR],
        created=[NOON] * 5,
    )
    store = feast_store()
    latest = pull_latest(store, files, NOON, NOON + HOUR, created="created")
    assert sorted(latest.to_arrow()["rate"].to_pylist()) == [0.2, 0.3]
    assert latest.to_arrow().column_names == ["driver", "rate", "event_timestamp", "created"]
    assert [batch.num_rows for batch in latest.batches()] == [2]
    nobody = pull_latest(store, files, NOON, NOON + HOUR, keys=[])
    assert nobody.to_arrow().to_pylist() == [{"rate": 0.2, "event_timestamp": NOON + HOUR, "__dummy_id": ""}]
    everything = AsofOfflineStore.pull_all_from_table_or_query(
        store.config, source(files), ["driver"], ["rate"], "event_timestamp", None, NOON, NOON + HOUR
    )
    assert everything.to_df()["rate"].tolist() == [0.1, 0.2, 0.3, 0.4]
    none = pull_latest(store, files, NOON - 2 * HOUR, NOON - HOUR)
    assert none.to_arrow().num_rows == 0


def test_pulls_without_features_give_all_columns(
    feast_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    """Feast asks so for what a view's transformation or its monitoring reads."""
    files = write(tmp_path / "a.parquet", driver=[1, 1], rate=[0.1, 0.2], note=["a", "b"])
    config = feast_store().config
    moments = ("event_timestamp", None, NOON, NOON + HOUR)
    every = AsofOfflineStore.pull_all_from_table_or_query(config, source(files), ["driver"], [], *moments)
    assert every.to_arrow().column_names == ["driver", "rate", "note", "event_timestamp"]
    assert every.to_arrow()["note"].to_pylist() == ["a", "b"]
    latest = AsofOfflineStore.pull_latest_from_table_or_query(config, source(files), ["driver"], [], *moments)
    assert latest.to_arrow()["note"].to_pylist() == ["b"]


def test_a_batch_is_written_once(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    write(folder / "2026-03-01_000001_0123456789abcdef.parquet", driver=[1], rate=[0.1])
    store = feast_store(view(folder))

    def batch(rate: float) -> pd.DataFrame:
        return pd.DataFrame({"driver": [1, 2], "rate": rate, "event_timestamp": [NOON, NOON + 12 * HOUR]})

    for rate in (0.2, 0.3, 0.2, 0.3):
        store.write_to_offline_store("stats", batch(rate))
    days = [file.name.partition("_")[0] for file in sorted(folder.iterdir())]
    assert days == ["2026-03-01"] * 3 + ["2026-03-02"] * 2
    assert rates(store, asked(1, 2, at=NOON + 12 * HOUR)) == [0.3, 0.3], "the later written of equals"
    with pytest.raises(DataError, match="'event_timestamp' is null in 1 rows"):
        store.write_to_offline_store("stats", batch(0.4).assign(event_timestamp=[NOON, None]))


def test_a_batch_for_a_single_file(feast_store: Callable[..., FeatureStore], tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", driver=[1], rate=[0.1])
    store = feast_store(view(file))
    batch = pd.DataFrame({"driver": [1, 2], "rate": [0.2, 0.3], "event_timestamp": [NOON] * 2})
    for _ in range(2):
        store.write_to_offline_store("stats", batch)
    assert pq.read_table(file)["rate"].to_pylist() == [0.1, 0.2, 0.3]
    assert rates(store, asked(1, 2)) == [0.2, 0.3]
