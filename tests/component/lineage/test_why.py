"""`windtunnel why` on a lifecycle that ran, a bundle that serves, and the log that a real process wrote."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from redis_process import redis_process
from served_bundle import served_model, tensor, write_served_model
from serving_process import ServingProcess
from synthetic_flights import DAYS, change, make_env, run_features, run_stage
from waiting import until

from windtunnel.cli import main
from windtunnel.digests import canonical_json, digest
from windtunnel.features.point_in_time import read_entity_rows
from windtunnel.ledger import Ledger
from windtunnel.objects import open_store
from windtunnel.prediction_log.ids import derived_id
from windtunnel.prediction_log.reading import find
from windtunnel.registry.models import ModelRegistry
from windtunnel.spec.servedmodel import ModelVersion
from windtunnel.stages.base import StageRequest, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Why = Callable[..., tuple[int, str]]

    from windtunnel.objects import ObjectStore
    from windtunnel.stages.base import StageEnv

NAME = "flight_delay"
VIEWS = ("route", "carrier", "airport_hour", "weather")
KEYS = ("origin", "dest", "carrier", "hour")
# The invented weather has no gusts at all, which the example's trees do not take.
TRAIN = """\
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
def train(features, label):
    steps = SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression()
    return make_pipeline(*steps).fit(features, label)
"""


@dataclass
class Flown:
    """A lifecycle that went from sources to a bundle, and what a serving process answered with it."""

    env: StageEnv
    version: ModelVersion
    by_entity: str
    """Id of a request of one row, asked by entity as of the evening of the last day."""
    by_features: str
    """Id of a request of three rows that brought their features."""
    scored: str
    """Id of a row of batch scoring."""

    def key_of(self, prediction_id: str) -> str:
        return find(self.env.store, prediction_id, NAME)[0].object_key


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flown]:
    root = tmp_path_factory.mktemp("why")
    with redis_process() as port:
        env = make_env(root, online=f"redis://127.0.0.1:{port}/0")
        (env.directory / "train.py").write_text(TRAIN)
        settings = dataclasses.replace(env.settings, tracking_uri=f"sqlite:///{root}/mlflow.db")
        env = dataclasses.replace(env, settings=settings)
        sys.modules.pop("features", None)
        sys.modules.pop("train", None)
        run_features(env)
        for view in VIEWS:
            run_stage(env, "materialize", view=view, start=DAYS[0], end=DAYS[-1])
        snapshot = run_stage(env, "snapshot", end=DAYS[-1]).outputs
        trained = execute("train", StageRequest(NAME, "train", "run-1", inputs=snapshot), env).outputs
        inputs = {**snapshot, **trained}
        execute("evaluate", StageRequest(NAME, "evaluate", "run-1", inputs=inputs), env)
        ModelRegistry(settings.tracking_uri).set_champion(NAME, "1")
        version = ModelVersion(version="1", bundle=trained["bundle"].uri, digest=trained["bundle"].digest)
        file = root / "served.json"
        write_served_model(file, served_model(version))
        with ServingProcess(
            file,
            root / "store",
            online_store=settings.online_store,
            arguments=("--log-seconds", "0.3"),
        ) as process:
            process.wait_for("/v2/health/ready")
            by_entity, by_features = ask(process, env)
        scored = run_stage(env, "score", start=DAYS[-1], end=DAYS[-1]).facts["first_id"]
        wait_for(env.store, by_entity, by_features)
        yield Flown(env, version, by_entity, by_features, scored)


def ask(process: ServingProcess, env: StageEnv) -> tuple[str, str]:
    asked = read_entity_rows(env, DAYS[-1])
    # Flights of the evening: the newest rows of the online store are known by then.
    row = asked.sort("event_timestamp").row(-1, named=True)
    request = env.lifecycle.spec.features.request
    entity = [tensor(name, "INT64" if isinstance(row[name], int) else "BYTES", [row[name]]) for name in KEYS]
    entity += [tensor(name, "FP64", [float(row[name])]) for name in request]
    moment = datetime(DAYS[-1].year, DAYS[-1].month, DAYS[-1].day + 1, 12, tzinfo=UTC)
    status, answer = process.infer(
        {"inputs": entity, "parameters": {"event_timestamp": moment.isoformat(), "key": "N123"}}
    )
    assert status == 200, answer
    width = process.get(f"/v2/models/{NAME}")[1]["inputs"][0]["shape"][1]
    data: list[Any] = [0.1 * number for number in range(3 * width)]
    data[4] = None
    status, matrix = process.infer({"inputs": [tensor("features", "FP64", data, [3, width])]})
    assert status == 200, matrix
    return answer["parameters"]["prediction_id"], matrix["parameters"]["prediction_id"]


def wait_for(store: ObjectStore, *ids: str) -> None:
    until(lambda: all(find(store, one, NAME) for one in ids))


@pytest.fixture
def why(
    flown: Flown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Why:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, store: str = flown.env.settings.store) -> tuple[int, str]:
        lifecycles = str(flown.env.directory.parent)
        command = ["windtunnel", "why", *arguments, "--store", store, "--lifecycles", lifecycles]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as leave:
            main()
        output, errors = capsys.readouterr()
        return int(leave.value.code or 0), output + errors

    return run


@pytest.fixture
def copied(flown: Flown, tmp_path: Path) -> Flown:
    """The same in a store of its own, to be spoilt."""
    shutil.copytree(flown.env.settings.store, tmp_path / "copy")
    settings = dataclasses.replace(flown.env.settings, store=str(tmp_path / "copy"))
    env = dataclasses.replace(flown.env, settings=settings, store=open_store(settings.store, {}))
    return dataclasses.replace(flown, env=env)


def bundle_key(flown: Flown) -> str:
    return f"{NAME}/bundles/{flown.version.digest.removeprefix('sha256:')}"


def test_the_chain_leads_from_the_answer_to_the_code(flown: Flown, why: Why) -> None:
    code, output = why(flown.by_entity)
    assert code == 0, output
    titles = re.findall(r"^([a-z]+) ", output, re.MULTILINE)
    assert titles == ["prediction", "answer", "version", "verdict", "snapshot", "features", "code"]
    assert f"{flown.by_entity}  of {NAME}" in output
    assert "by version 1, the champion" in output
    assert "key 'N123'" in output
    assert re.search(r"asked for .*origin=(EWR|JFK|LGA)", output)
    assert "Pipeline as onnx" in output
    assert flown.version.bundle in output
    assert "refuse  as the first of its lifecycle, on 2013-" in output
    assert "ledger 1: refusal, run run-1" in output
    assert "training days 2013-" in output
    assert re.search(r"gust.* missing  +weather:", output)
    for view in VIEWS:
        assert re.search(
            rf"view {view}: definition [0-9a-f]{{12}}, trained on its rows [0-9a-f]{{12}} of 2013", output
        )
    assert "spec " in output
    assert "scikit-learn" in output


def test_a_replay_gives_the_same_answer_bit_for_bit(flown: Flown, why: Why) -> None:
    for asked, words in (
        (flown.by_entity, "exact: the same answer, bit for bit"),
        (flown.by_features, "exact: the same answer, bit for bit on all 3 rows"),
        (flown.scored, "exact: the same answer, bit for bit"),
    ):
        code, output = why(asked, NAME, "--replay")
        assert code == 0, output
        assert words in output


def test_what_was_served_is_what_training_would_have_seen(flown: Flown, why: Why) -> None:
    for asked in (flown.by_entity, flown.scored):
        code, output = why(asked, "--offline")
        assert code == 0, output
        assert "values are those of the offline store" in output


def test_features_that_training_would_have_seen_otherwise_are_told(copied: Flown, why: Why) -> None:
    for day in DAYS:
        key = f"{NAME}/features/carrier/{day}.parquet"
        change(copied.env, key, lambda frame: frame.with_columns(pl.selectors.float() + 1))
        data = copied.env.store.get(key)
        sidecar = json.loads(copied.env.store.get(key.replace(".parquet", ".json")))
        sidecar |= {"digest": digest(data), "bytes": len(data)}
        copied.env.store.put(key.replace(".parquet", ".json"), canonical_json(sidecar))
    code, output = why(copied.by_entity, "--offline", "--replay", store=copied.env.settings.store)
    assert code == 0, output
    assert re.search(r"\d of \d+ values differ from the offline store's", output)
    assert re.search(r"carrier\w*: served [\d.]+, offline [\d.]+", output)
    assert "exact" in output, "what was served is still what was answered"


def test_a_request_with_its_own_features_has_nothing_to_compare(flown: Flown, why: Why) -> None:
    code, output = why(flown.by_features, "--offline")
    assert code == 2
    assert "came with the request" in output


def test_what_callers_sent_does_not_write_on_the_terminal(copied: Flown, why: Why) -> None:
    key = copied.key_of(copied.by_entity)
    hostile = pl.col("entities").struct.with_fields(origin=pl.lit("\x1b[2J\nanswer 1.0"))
    change(copied.env, key, lambda frame: frame.with_columns(hostile, writer=pl.lit("\x1b]0;x\x07")))
    code, output = why(copied.by_entity, store=copied.env.settings.store)
    assert code == 0
    assert "\x1b" not in output
    assert r"origin='\x1b[2J\nanswer 1.0'" in output


def test_rows_of_a_batch_are_shown_one_at_a_time(flown: Flown, why: Why) -> None:
    code, output = why(flown.by_features, "--row", "2")
    assert code == 0
    assert "for row 2 (rows 0 to 2)" in output
    assert "all rows: " in output
    code, output = why(flown.by_features, "--row", "3")
    assert code == 2
    assert "there is no row 3 in this request of 3" in output


def test_json_tells_the_same(flown: Flown, why: Why) -> None:
    code, output = why(flown.by_features, "--replay", "--json")
    assert code == 0
    told = json.loads(output)
    (answer,) = told["answers"]
    assert answer["replay"]["exact"]
    assert answer["rows"][0]["features"][4] is None
    assert [row["prediction"] for row in answer["rows"]] == answer["replay"]["predictions"]
    version = told["versions"][flown.version.digest]
    assert version["manifest"]["spec"] == flown.env.lifecycle.digest
    assert version["verdict"]["decision"] == "refuse"
    assert version["snapshot"]["training"]
    assert version["lost"] == []


def test_a_swept_bundle_is_told_and_the_rest_as_well(copied: Flown, why: Why) -> None:
    for entry in copied.env.store.list(bundle_key(copied)):
        copied.env.store.delete(entry.key)
    code, output = why(copied.by_entity, "--replay", store=copied.env.settings.store)
    assert code == 2
    assert "✗ the bundle is no longer there: it was swept" in output
    assert "restore it from a backup" in output
    assert "✗ not possible" in output
    assert "ledger 1: refusal" in output
    assert "training days" in output, "the verdict still names the snapshot"


@pytest.mark.parametrize(
    ("file", "link"), [("manifest.json", "bundle"), ("model.onnx", "replay")], ids=["manifest", "model"]
)
def test_a_changed_bundle_is_told(copied: Flown, why: Why, file: str, link: str) -> None:
    key = f"{bundle_key(copied)}/{file}"
    data = bytearray(copied.env.store.get(key))
    data[len(data) // 2] ^= 1
    copied.env.store.put(key, bytes(data))
    code, output = why(copied.by_entity, "--replay", store=copied.env.settings.store)
    assert code == 2
    assert re.search(rf"^{link} +✗", output, re.MULTILINE)
    assert "the content has digest" in output
    assert file in output


def test_a_changed_answer_is_found_by_the_replay(copied: Flown, why: Why) -> None:
    key = copied.key_of(copied.by_entity)
    change(copied.env, key, lambda frame: frame.with_columns(pl.col("prediction") + 0.01))
    code, output = why(copied.by_entity, store=copied.env.settings.store)
    assert code == 0
    code, output = why(copied.by_entity, "--replay", store=copied.env.settings.store)
    assert code == 2
    assert "✗ differs by 0.01: logged 0." in output
    assert "Either the log was changed, or the runtime computes differently" in output


def test_a_tiny_difference_is_told_as_one(copied: Flown, why: Why) -> None:
    key = copied.key_of(copied.by_entity)
    change(copied.env, key, lambda frame: frame.with_columns(pl.col("prediction") + 2e-8))
    code, output = why(copied.by_entity, "--replay", store=copied.env.settings.store)
    assert code == 0
    assert "the same within 1e-06, not bit for bit: logged 0." in output


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda frame: frame.rename({"prediction": "answer"}), "it has no prediction"),
        (lambda frame: frame.filter(pl.col("row") != 0), "row 0 of the request is not in the log"),
        (
            lambda frame: pl.concat([frame, frame.with_columns(pl.col("prediction") / 2)]),
            "stands in the log twice, with different content",
        ),
        (lambda frame: frame.with_columns(pl.col("time").dt.offset_by("-1h")), "its id of"),
        (
            lambda frame: frame.with_columns(prediction=pl.lit(float("nan"))),
            "holds no number as prediction",
        ),
        (lambda frame: frame.with_columns(role=pl.lit("king")), "a row has the role 'king'"),
        (lambda frame: frame.with_columns(pl.col("prediction").cast(pl.String)), "its prediction is"),
        (lambda frame: frame.with_columns(version=pl.lit(None, pl.String)), "a row has no version"),
        (
            lambda frame: frame.with_columns(
                pl.col("features").struct.rename_fields([f"f{n}" for n in range(13)])
            ),
            "the bundle has",
        ),
    ],
)
def test_a_log_that_cannot_have_been_written_so_is_told(
    copied: Flown,
    why: Why,
    spoil: Callable[[pl.DataFrame], pl.DataFrame],
    words: str,
) -> None:
    key = copied.key_of(copied.by_features)
    change(copied.env, key, spoil)
    code, output = why(copied.by_features, "--replay", store=copied.env.settings.store)
    assert code == 2, output
    assert words in output
    assert key in output


def test_the_same_rows_put_twice_count_once(copied: Flown, why: Why) -> None:
    key = copied.key_of(copied.by_features)
    copied.env.store.put(key.replace(".parquet", "9.parquet"), copied.env.store.get(key))
    code, output = why(copied.by_features, "--replay", store=copied.env.settings.store)
    assert code == 0, output
    assert "on all 3 rows" in output


def test_a_file_that_is_cut_short_is_told(copied: Flown, why: Why) -> None:
    key = copied.key_of(copied.by_entity)
    copied.env.store.put(key, copied.env.store.get(key)[:-200])
    code, output = why(copied.by_entity, store=copied.env.settings.store)
    assert code == 2
    assert "no file of a prediction log" in output
    assert key in output


def test_no_broken_file_is_a_traceback(copied: Flown, why: Why) -> None:
    key = copied.key_of(copied.by_entity)
    whole = copied.env.store.get(key)
    for place in range(3, len(whole), max(1, len(whole) // 60)):
        data = bytearray(whole)
        data[place] ^= 0xFF
        copied.env.store.put(key, bytes(data))
        code, output = why(copied.by_entity, "--replay", store=copied.env.settings.store)
        assert code in (0, 2), f"byte {place}: {output}"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("verdict", "the verdict was changed after it was written"),
        ("snapshot", "the manifest has digest"),
        ("ledger", "the entry is no JSON object"),
        ("rows", "evaluation.parquet is gone"),
    ],
)
def test_other_links_that_were_changed_are_told(copied: Flown, why: Why, what: str, words: str) -> None:
    store = copied.env.store
    if what == "verdict":
        (key,) = (entry.key for entry in store.list(f"{NAME}/verdicts"))
        store.put(key, store.get(key).replace(b'"refuse"', b'"promote"'))
    elif what == "ledger":
        store.put(f"{NAME}/ledger/000001.json", b"{")
    else:
        (key,) = (e.key for e in store.list(f"{NAME}/snapshots") if e.key.endswith("manifest.json"))
        if what == "snapshot":
            store.put(key, store.get(key) + b" ")
        else:
            store.delete(key.replace("manifest.json", "evaluation.parquet"))
    code, output = why(copied.by_entity, store=copied.env.settings.store)
    assert code == 2
    assert words in output
    assert "by version 1" in output


def test_a_changed_ledger_entry_shows(copied: Flown, why: Why) -> None:
    ledger = Ledger(copied.env.store, NAME)
    ledger.append({"action": "rollback", "version": "1", "bundle_digest": copied.version.digest, "by": "x"})
    code, output = why(copied.by_entity, store=copied.env.settings.store)
    assert code == 0, output
    assert "ledger 2: rollback, by x" in output
    first = f"{NAME}/ledger/000001.json"
    copied.env.store.put(first, copied.env.store.get(first).replace(b"run-1", b"run-2"))
    code, output = why(copied.by_entity, store=copied.env.settings.store)
    assert code == 2
    assert "one of the two was changed" in output


def test_an_id_that_is_not_in_the_log_says_why(flown: Flown, why: Why) -> None:
    moment = find(flown.env.store, flown.by_entity, NAME)[0].time
    missing = derived_id(datetime(2013, 1, 1, 5, tzinfo=UTC), b"x")
    code, output = why(missing)
    assert code == 2
    assert "has no files of its hour, 2013-01-01 05:00 to 06:00 UTC" in output
    assert f"the log has {DAYS[-1]} to " in output
    code, output = why(derived_id(moment, b"x"))
    assert code == 2
    assert re.search(r"is not in the log yet|is in none of the \d files", output)
    assert "With predictionLog.sample at 0." in output
    code, output = why(derived_id(datetime(DAYS[-1].year, DAYS[-1].month, DAYS[-1].day, tzinfo=UTC), b"x"))
    assert code == 2
    assert "it is in none of the 1 files that the log of any lifecycle has of its hour" in output
    code, output = why("ffff" + flown.by_entity[4:])
    assert code == 2
    assert "which is still to come" in output or "after the year 9999" in output


def test_a_wrong_lifecycle_or_store_is_told(flown: Flown, why: Why, tmp_path: Path) -> None:
    code, output = why(flown.by_entity, "flight_dely")
    assert code == 2
    assert "did you mean 'flight_delay'?" in output
    code, output = why(flown.by_entity, store=str(tmp_path / "nowhere"))
    assert code == 2
    assert "there is no such directory" in output
    (tmp_path / "empty").mkdir()
    code, output = why(flown.by_entity, store=str(tmp_path / "empty"))
    assert code == 2
    assert "there is no prediction log of any lifecycle" in output
    code, output = why(flown.by_entity, NAME, store=str(tmp_path / "empty"))
    assert code == 2
    assert "it is empty" in output


def test_a_store_that_is_away_is_a_temporary_error(
    flown: Flown, why: Why, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.cli.stores._PATIENCE", 0.2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    code, output = why(flown.by_entity, NAME, store="s3://bucket")
    assert code == 75
    assert "the object store failed" in output
    assert "hidden" not in output
