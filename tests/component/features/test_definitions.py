from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from synthetic_flights import LIFECYCLE, edit, make_env, reloaded

from windtunnel.errors import SpecError
from windtunnel.features.definitions import load_definitions
from windtunnel.features.describe import describe_online
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from pathlib import Path


def test_a_bundle_learns_where_its_features_come_from() -> None:
    description = describe_online(LIFECYCLE, load_lifecycle(LIFECYCLE))
    features = description["features"]
    assert [item["source"] for item in features if item["name"] == "route_delay_14d"] == [
        "route:route_delay_14d"
    ]
    assert [item["name"] for item in features if item["source"] == "request"] == [
        "minute_of_day",
        "weekday",
        "distance",
    ]
    online = description["online"]
    assert online["project"] == "flight_delay"
    views = {view["name"]: view for view in online["views"]}
    assert list(views) == ["route", "carrier", "airport_hour", "weather"]
    assert views["airport_hour"] == {
        "name": "airport_hour",
        "join_keys": [{"name": "origin", "type": "STRING"}, {"name": "hour", "type": "INT64"}],
        "ttl_seconds": 7 * 24 * 3600,
        "features": [
            {"name": "airport_hour_late_14d", "type": "DOUBLE"},
            {"name": "airport_hour_late_2d", "type": "DOUBLE"},
        ],
    }


def test_the_order_of_features_is_that_of_the_service() -> None:
    definitions = load_definitions(LIFECYCLE, load_lifecycle(LIFECYCLE))
    assert [feature for view, feature in definitions.served if view == "weather"] == [
        "wind_speed",
        "wind_gust",
        "precip",
        "visib",
    ]


def test_retention_that_takes_away_what_a_training_joins_is_refused(tmp_path: Path) -> None:
    env = make_env(tmp_path, days=[])
    reach, ttl = env.lifecycle.spec.reach_days, 7 + 4
    for days in (reach + ttl - 1, reach + ttl):
        edit(env.directory / "lifecycle.yaml", {"predictionDays": f"featureDays: {days}, predictionDays"})
        lifecycle = load_lifecycle(env.directory)
        if days == reach + ttl:
            assert load_definitions(env.directory, lifecycle).views
        else:
            with pytest.raises(SpecError, match=f"let it be {reach + ttl} or more"):
                load_definitions(env.directory, lifecycle)
        edit(env.directory / "lifecycle.yaml", {f"featureDays: {days}, predictionDays": "predictionDays"})


def test_rows_that_count_for_ever_cannot_be_swept(tmp_path: Path) -> None:
    env = make_env(tmp_path, days=[])
    edit(env.directory / "lifecycle.yaml", {"predictionDays": "featureDays: 3000, predictionDays"})
    edit(env.directory / "features.py", {"ttl=ttl": "ttl=None"})
    sys.modules.pop("features", None)
    with pytest.raises(SpecError, match="has no ttl, and retention"):
        load_definitions(env.directory, load_lifecycle(env.directory))


def test_a_feature_services_defaults_stand_in_the_bundle(tmp_path: Path) -> None:
    env = make_env(tmp_path, days=[])
    tags = '{"default.precip": "0", "default.wind_gust": "-1.5e1", "team": "flights"}'
    edit(env.directory / "features.py", {"features=views)": f"features=views, tags={tags})"})
    sys.modules.pop("features", None)
    definitions = load_definitions(env.directory, env.lifecycle)
    assert definitions.defaults == {("weather", "precip"): 0.0, ("weather", "wind_gust"): -15.0}
    online = describe_online(env.directory, env.lifecycle)["online"]
    weather = next(view for view in online["views"] if view["name"] == "weather")
    assert weather["features"] == [
        {"name": "wind_speed", "type": "DOUBLE"},
        {"name": "wind_gust", "type": "DOUBLE", "default": -15.0},
        {"name": "precip", "type": "DOUBLE", "default": 0.0},
        {"name": "visib", "type": "DOUBLE"},
    ]


def test_a_ttl_below_a_second_is_not_for_ever(tmp_path: Path) -> None:
    env = make_env(tmp_path, days=[])
    edit(env.directory / "features.py", {"timedelta(hours=6))": "timedelta(milliseconds=500))"})
    sys.modules.pop("features", None)
    views = describe_online(env.directory, env.lifecycle)["online"]["views"]
    assert [view["ttl_seconds"] for view in views] == [604800, 604800, 604800, 0.5]


MISTAKES = {
    "service": (
        "lifecycle.yaml",
        {"service: flight_delay": "service: flight_dely"},
        "no feature service 'flight_dely'; did you mean 'flight_delay'",
    ),
    "view not named": (
        "lifecycle.yaml",
        {"airport_hour, weather]": "airport_hour]"},
        "reads view 'weather', which the lifecycle does not name",
    ),
    "feature twice": (
        "lifecycle.yaml",
        {"weekday, distance]": "weekday, precip]"},
        "'precip' is in features.request and in weather",
    ),
    "feature and label": (
        "lifecycle.yaml",
        {"column: late": "column: precip"},
        "'precip' is in label and in weather",
    ),
    "slice and feature": (
        "lifecycle.yaml",
        {"slices: [origin]": "slices: [origin, precip]"},
        "'precip' is in evaluation.slices and in weather; rename one of them",
    ),
    "label key and feature": (
        "lifecycle.yaml",
        {"column: late": "column: late\n    key: precip"},
        "'precip' is in label.key and in weather",
    ),
    "request and time": (
        "lifecycle.yaml",
        {"[minute_of_day": "[event_timestamp"},
        "'event_timestamp' is in features.request and is the moment of the row",
    ),
    "label and time": (
        "lifecycle.yaml",
        {"column: late": "column: event_timestamp"},
        "'event_timestamp' is in label and is the moment of the row",
    ),
    "key and feature": ("lifecycle.yaml", {"[minute_of_day": "[hour"}, "'hour' is a join key and a feature"),
    "timestamp": (
        "features.py",
        {'timestamp_field="event_timestamp"': 'timestamp_field="when"'},
        "no timestamp_field 'event_timestamp'",
    ),
    "key type": (
        "features.py",
        {"value_type=ValueType.INT64": "value_type=ValueType.DOUBLE"},
        "no usable type for its join key 'hour'",
    ),
    "key type in the schema": (
        "features.py",
        {
            "for feature in features]": "for feature in [*features, *(e.join_key for e in entities)]]",
            ", value_type=ValueType.STRING": "",
            ", value_type=ValueType.INT64": "",
        },
        "no usable type for its join key",
    ),
    "not online": ("features.py", {"ttl=ttl,": "ttl=ttl, online=False,"}, "is not to be materialized"),
    "computed rows": (
        "features.py",
        {
            "import Entity,": "import BatchFeatureView, Entity,",
            "return FeatureView(": 'return BatchFeatureView(mode="python", udf=lambda rows: rows, ',
        },
        "computes its rows .*compute them in transform",
    ),
    "another source": (
        "features.py",
        {
            "source = FileSource(": "source = SnowflakeSource(",
            'path=f"{name}.parquet"': 'table="rows"',
            "FileSource, ValueType": "SnowflakeSource, ValueType",
        },
        "is no parquet file but SnowflakeSource",
    ),
    "created": (
        "features.py",
        {'created_timestamp_column="created"': 'created_timestamp_column="written"'},
        "created_timestamp_column 'written'; FileSource",
    ),
    "field mapping": (
        "features.py",
        {'path=f"{name}.parquet",': 'path=f"{name}.parquet", field_mapping={"a": "b"},'},
        "has a field_mapping; remove it",
    ),
    "a feature named as a time": (
        "features.py",
        {'["route_late_14d",': '["created",'},
        "feature or join key 'created', which is a time",
    ),
    "served text": (
        "features.py",
        {
            "Field(name=feature, dtype=Float64)": "Field(name=feature, dtype=String)",
            "import Float64": "import String",
        },
        "'route_late_14d' of view 'route' is STRING, and a model reads numbers only",
    ),
    "other names": (
        "features.py",
        {"features=views)": 'features=[views[0].with_name("ways"), *views[1:]])'},
        "reads view 'route' under other names",
    ),
    "default of nothing": (
        "features.py",
        {"features=views)": 'features=views, tags={"default.precipp": "0"})'},
        "'default.precipp' of feature service 'flight_delay' names no feature .*did you mean 'precip'",
    ),
    "default of a request feature": (
        "features.py",
        {"features=views)": 'features=views, tags={"default.weekday": "0"})'},
        "names no feature that it reads",
    ),
    "default that is no number": (
        "features.py",
        {"features=views)": 'features=views, tags={"default.precip": "none"})'},
        "tag 'default.precip' is 'none', not a number",
    ),
    "infinite default": (
        "features.py",
        {"features=views)": 'features=views, tags={"default.precip": "inf"})'},
        "is 'inf', not a number",
    ),
    "feature in two views": (
        "features.py",
        {'["airport_hour_late_14d",': '["route_late_14d",'},
        "'route_late_14d' is in route and in airport_hour",
    ),
}


@pytest.mark.filterwarnings("ignore:Batch feature views are experimental:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Entity value_type:DeprecationWarning")
@pytest.mark.parametrize(("file", "change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_code_and_lifecycle_disagree_about_is_said(
    tmp_path: Path, file: str, change: dict[str, str], message: str
) -> None:
    env = make_env(tmp_path, days=[])
    edit(env.directory / file, change)
    sys.modules.pop("features", None)
    with pytest.raises(SpecError, match=message):
        load_definitions(env.directory, reloaded(env).lifecycle)


def in_a_process(code: str, directory: Path) -> None:
    """Imports happen once."""
    lines = f"from windtunnel.features.feast_import import prepare_feast\nprepare_feast()\n{code}"
    command = [sys.executable, "-W", "ignore", "-c", lines]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_feast_is_imported_unchecked_and_typeguard_stays_whole(tmp_path: Path) -> None:
    in_a_process(
        "import feast, sys; assert 'typeguard' not in sys.modules\n"
        "import pandera.polars; import typeguard; assert typeguard.__file__\n"
        "assert feast.Entity(name='x', value_type=feast.ValueType.STRING).name == 'x'",
        tmp_path,
    )


def test_feast_is_imported_without_its_servers_and_sql(tmp_path: Path) -> None:
    in_a_process(
        "import sys\n"
        "heavy = {'fastapi', 'gunicorn', 'jwt', 'requests', 'sqlalchemy', 'starlette', 'uvicorn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)",
        tmp_path,
    )


def test_what_was_left_out_of_feast_is_there_for_who_uses_it(tmp_path: Path) -> None:
    in_a_process(
        """
from feast import FeatureStore, RepoConfig, feature_server
from feast.errors import FeastObjectNotFoundException

registry = {"registry_type": "sql", "path": "sqlite:///registry.db"}
store = FeatureStore(config=RepoConfig(
    project="test", provider="local", registry=registry, entity_key_serialization_version=3,
    online_store={"type": "sqlite", "path": "online.db"},
))
assert type(store.registry).__module__ == "feast.infra.registry.sql"
assert store.list_feature_views() == []
assert feature_server.get_app(store).title
assert FeastObjectNotFoundException().http_status_code() == 404
import fastapi, asyncio
assert fastapi.__file__
from feast import feature_store
assert asyncio.run(feature_store.run_in_threadpool(lambda: 7)) == 7
""",
        tmp_path,
    )
