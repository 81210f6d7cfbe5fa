"""A missing feature has one value everywhere: in training, evaluation, batch scoring and serving."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from redis_process import redis_process
from synthetic_flights import DAYS, edit, get_frame, make_env, run_features, run_stage

from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_connection import RedisConnection
from windtunnel.features.point_in_time import point_in_time
from windtunnel.registry.bundle import Bundle, read_bundle
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.snapshots import to_inputs
from windtunnel.serving.loader import BundleLoader
from windtunnel.spec.servedmodel import ModelVersion
from windtunnel.stages.base import StageRequest, execute

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from windtunnel.stages.base import Reference, StageEnv

VIEWS = ("route", "carrier", "airport_hour", "weather")
GUST, ROUTE, MANY = 7.5, 0.25, 99.0  # the invented weather has no gusts at all
TAGS = '{"default.wind_gust": "7.5", "default.route_late_14d": "0.25"}'
TRAIN = f"""\
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
def train(features, label):
    assert (features["wind_gust"] == {GUST}).all()
    assert (features["route_late_14d"] == {ROUTE}).any() and features["route_late_14d"].notna().all()
    assert features["route_delay_14d"].isna().any()
    return make_pipeline(SimpleImputer(), LogisticRegression()).fit(features, label)
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageEnv]:
    root = tmp_path_factory.mktemp("defaults")
    with redis_process() as port:
        env = make_env(root, online=f"redis://127.0.0.1:{port}/0")
        (env.directory / "train.py").write_text(TRAIN)
        expires = {'"route_delay_14d"], timedelta(days=7)': '"route_delay_14d"], timedelta(hours=6)'}
        edit(env.directory / "features.py", {**expires, "features=views)": f"features=views, tags={TAGS})"})
        forget()
        settings = dataclasses.replace(env.settings, tracking_uri=f"sqlite:///{root}/mlflow.db")
        env = dataclasses.replace(env, settings=settings)
        run_features(env)
        for view in VIEWS:
            run_stage(env, "materialize", view=view, start=DAYS[0], end=DAYS[-1])
        yield env


def forget() -> None:
    for module in ("features", "train"):
        sys.modules.pop(module, None)


def run(env: StageEnv, stage: str, **inputs: Reference) -> dict[str, Reference]:
    return execute(stage, StageRequest("flight_delay", stage, "run", inputs=inputs), env).outputs


def columns(bundle: Bundle, inputs: NDArray[np.float64], *names: str) -> Sequence[NDArray[np.float64]]:
    return [inputs[:, bundle.features.index(name)] for name in names]


@pytest.fixture(scope="module")
def trained(env: StageEnv) -> tuple[Bundle, dict[str, Reference]]:
    """Through the assertions of its `train`."""
    snapshot = run_stage(env, "snapshot", end=DAYS[-1]).outputs["snapshot"]
    training = get_frame(env, f"{env.store.key(snapshot.uri)}/train.parquet")
    assert training["wind_gust"].null_count() == training.height, "a snapshot keeps what is missing as null"
    outputs = {"snapshot": snapshot, **run(env, "train", snapshot=snapshot)}
    bundle = read_bundle(env.store, outputs["bundle"].uri, outputs["bundle"].digest)
    assert bundle.defaults == {"wind_gust": GUST, "route_late_14d": ROUTE}
    ModelRegistry(env.settings.tracking_uri).set_champion("flight_delay", "1")
    return bundle, outputs


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Bundle, NDArray[np.float64]]]:
    """Whatever a model is asked."""
    seen = []
    real = Bundle.predict

    def predict(self: Bundle, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        seen.append((self, inputs))
        return real(self, inputs)

    monkeypatch.setattr(Bundle, "predict", predict)
    return seen


def test_in_evaluation(env: StageEnv, trained: tuple[Bundle, dict[str, Reference]], asked: list) -> None:  # type: ignore[type-arg]
    run(env, "evaluate", **trained[1])
    assert asked
    for bundle, inputs in asked:
        gust, route = columns(bundle, inputs, "wind_gust", "route_late_14d")
        assert (gust == GUST).all()
        assert not np.isnan(route).any()


def test_in_batch_scoring_also_when_the_code_has_another_by_now(
    env: StageEnv,
    trained: tuple[Bundle, dict[str, Reference]],
    asked: list,  # type: ignore[type-arg]
) -> None:
    """The champion goes on with the one that it was trained with, as it does in serving."""
    edit(env.directory / "features.py", {'"default.wind_gust": "7.5"': '"default.wind_gust": "99"'})
    forget()
    try:
        run_stage(env, "score", start=DAYS[-1], end=DAYS[-1])
    finally:
        edit(env.directory / "features.py", {'"default.wind_gust": "99"': '"default.wind_gust": "7.5"'})
        forget()
    *_, (bundle, inputs) = asked  # after the rehearsal
    assert (columns(bundle, inputs, "wind_gust")[0] == GUST).all()


@pytest.mark.parametrize(
    ("after", "expired"),
    [(timedelta(0), False), (timedelta(hours=6), False), (timedelta(hours=6, microseconds=1), True)],
    ids=["new", "at the end of its ttl", "past its ttl"],
)
def test_in_serving_as_offline(
    env: StageEnv, trained: tuple[Bundle, dict[str, Reference]], after: timedelta, expired: bool
) -> None:
    """One row with everything, one of an unknown route, one of which nothing is known."""
    bundle, outputs = trained
    last = get_frame(env, f"flight_delay/features/route/{DAYS[-1]}.parquet").row(0, named=True)
    moment = last["event_timestamp"] + after
    rows = pl.DataFrame(
        {
            "origin": [last["origin"], "EWR", "???"],
            "dest": [last["dest"], "???", "???"],
            "carrier": ["UA", "UA", "?"],
            "hour": [12, 12, 99],
            "event_timestamp": pl.Series([moment] * 3, dtype=pl.Datetime("us", "UTC")),
        }
    )
    names = [feature["name"] for feature in bundle.manifest["features"] if feature["source"] != "request"]
    offline = to_inputs(point_in_time(env, rows), names, bundle.defaults)
    version = ModelVersion(version="1", bundle=bundle.uri, digest=outputs["bundle"].digest)

    async def read() -> NDArray[np.float64]:
        connection = RedisConnection(RedisAddress.parse(env.settings.online_store, ""))
        try:
            reader = BundleLoader(env.store, connection)("flight_delay", version).reader
            assert reader
            entities = {key: rows[key].to_list() for key in ("origin", "dest", "carrier", "hour")}
            return (await reader.read(entities, moment.timestamp())).values
        finally:
            await connection.close()

    online = asyncio.run(read())
    np.testing.assert_array_equal(online, offline)
    route, gust = names.index("route_late_14d"), names.index("wind_gust")
    assert online[0, route] == (ROUTE if expired else last["route_late_14d"])
    assert (online[1:, route] == ROUTE).all()
    assert (online[:, gust] == GUST).all()
    assert np.isnan(online[2, names.index("precip")])
