"""Files of the prediction log, as three readers that share no code with their writer see them."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.prediction_log.columns import COLUMNS, ROLES
from windtunnel.prediction_log.frames import schema
from windtunnel.serving.log_parquet import to_parquet
from windtunnel.serving.log_records import Chunk, Head, Record, chunk_decoder, chunk_payload, encoder

if TYPE_CHECKING:
    from pathlib import Path

MILLISECONDS = st.integers(0, 4_102_444_800_000)
NUMBERS = st.floats(allow_infinity=False, width=64)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.lists(TEXTS.filter(lambda name: name and "\0" not in name), min_size=1, max_size=4, unique=True)


def id_at(milliseconds: int, number: int) -> str:
    head = f"{milliseconds:012x}"
    return f"{head[:8]}-{head[8:]}-7000-8000-{number:012x}"


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    features = tuple(draw(NAMES))
    keys = {name: draw(st.sampled_from(["STRING", "INT64", "INT32"])) for name in draw(st.just([]) | NAMES)}
    head = Head("demo", "7", "sha256:7", features, keys, 0)
    values = {
        name: TEXTS if kind == "STRING" else st.integers(-(2**31), 2**31 - 1) for name, kind in keys.items()
    }
    records = []
    for number in range(draw(st.integers(1, 5))):
        rows = draw(st.sampled_from([1, 1, 1, 3]))
        matrix = draw(st.lists(NUMBERS, min_size=rows * len(features), max_size=rows * len(features)))
        missing: Any = (
            draw(st.integers(0, 9)) if rows == 1 else draw(st.sampled_from([None, b"\7\0\0\0" * rows]))
        )
        stale: Any = draw(st.none() | (st.booleans() if rows == 1 else st.just(b"\0\1\0")))
        entities = [draw(st.lists(values[name], min_size=rows, max_size=rows)) for name in keys]
        records.append(
            Record(
                id_at(draw(MILLISECONDS), number),
                draw(st.integers(0, len(ROLES) - 1)),
                draw(st.floats(0, 100)),
                missing,
                stale,
                draw(st.none() | st.integers(1, 4_102_444_800_000_000).map(lambda us: us / 1e6)),
                draw(st.none() | TEXTS),
                draw(st.none() | st.just(entities)),
                struct.pack(f"={len(matrix)}d", *matrix),
                draw(st.lists(st.floats(-1e300, 1e300), min_size=rows, max_size=rows)),
            )
        )
    return Chunk(head, records)


def expected(chunk: Chunk) -> list[dict[str, Any]]:
    """The rows, told in the plainest way."""
    head = chunk.head
    rows = []
    for record in chunk.records:
        count = len(record.predictions)
        matrix = [value if value == value else None for (value,) in struct.iter_unpack("=d", record.matrix)]
        for row in range(count):
            values = matrix[row * len(head.features) : (row + 1) * len(head.features)]
            missing, stale = record.missing, record.stale
            if missing is None:
                missing = values.count(None)
            elif isinstance(missing, bytes):
                missing = struct.unpack_from("=i", missing, 4 * row)[0]
            rows.append(
                {
                    "prediction_id": record.prediction_id,
                    "row": row,
                    "time": _moment(1000 * int(record.prediction_id.replace("-", "")[:12], 16)),
                    "version": head.version,
                    "digest": head.digest,
                    "role": ROLES[record.role],
                    "key": record.key,
                    "entities": _entities(chunk, record, row),
                    "event_time": record.event_time and _moment(round(record.event_time * 1e6)),
                    "features": dict(zip(head.features, values, strict=True)),
                    "missing": missing,
                    "stale": bool(stale[row]) if isinstance(stale, bytes) else stale,
                    "prediction": record.predictions[row],
                    "latency_seconds": record.latency_seconds,
                    "writer": "pod-1",
                }
            )
    return rows


def _entities(chunk: Chunk, record: Record, row: int) -> dict[str, Any] | None:
    if record.entities is None or not chunk.head.join_keys:
        return None
    return dict(zip(chunk.head.join_keys, (part[row] for part in record.entities), strict=True))


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


@settings(max_examples=60)
@given(chunks())
def test_every_reader_reads_what_was_recorded(chunk: Chunk) -> None:
    encoded = bytearray()
    for record in chunk.records:
        encoder.encode_into(record, encoded, len(encoded))
    sent = chunk_decoder.decode(chunk_payload(encoder.encode(chunk.head), len(chunk.records), encoded))
    data = to_parquet(sent.head, sent.records, "pod-1")
    rows = expected(chunk)
    frame = pl.read_parquet(io.BytesIO(data))
    assert frame.to_dicts() == rows
    assert frame.schema == schema(chunk.head.features, chunk.head.join_keys)
    assert pq.read_table(io.BytesIO(data)).to_pylist() == rows


def test_duckdb_and_a_polars_scan_read_a_folder(tmp_path: Path) -> None:
    """As docs/predictions.md says, also where two versions have other features."""
    for version, features in (("1", ("a b", "ü")), ("2", ("c",))):
        head = Head("demo", version, f"sha256:{version}", features, {"carrier": "STRING"}, 0)
        matrix = struct.pack(f"={len(features)}d", *[0.5] * len(features))
        records = [
            Record(id_at(number, number), 0, 0.1, 0, False, None, None, [["UA"]], matrix, [number / 10])
            for number in range(5)
        ]
        (tmp_path / f"pod-{version}.parquet").write_bytes(to_parquet(head, records, "pod"))
    files = f"{tmp_path}/*.parquet"
    found = duckdb.sql(
        f"select version, count(*), avg(prediction) from read_parquet('{files}', union_by_name = true) "
        "where role = 'champion' group by version order by version"
    ).fetchall()
    assert [(version, count) for version, count, _ in found] == [("1", 5), ("2", 5)]
    one = duckdb.sql(f"select features.\"a b\", entities.carrier from '{tmp_path}/pod-1.parquet'").fetchall()
    assert one == [(0.5, "UA")] * 5
    wanted = [name for name in COLUMNS if name not in ("features", "entities")]
    lazy = pl.scan_parquet(files, extra_columns="ignore").select(wanted)
    assert lazy.filter(pl.col("version") == "2").collect().height == 5
