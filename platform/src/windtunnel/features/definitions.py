"""The Feast objects that a lifecycle's features.py defines, checked against its lifecycle.yaml."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from windtunnel.errors import SpecError
from windtunnel.features.feast_import import prepare_feast
from windtunnel.usercode import load_module

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import ModuleType

    from feast import Entity, FeatureService, FeatureView

    from windtunnel.spec.lifecycle import Lifecycle

EVENT_TIMESTAMP = "event_timestamp"
CREATED = "created"
DEFAULT_TAG = "default."
"""A feature service's tag `default.<feature>` is the number that stands for a missing value."""
LATEST = timedelta(days=3)
"""Until when the rows of a day may say that they were known; later ones are a mistake in a time zone or a
unit."""
FOREVER = timedelta(days=36500)
"""A ttl of this or more is none."""
NUMERIC = ("DOUBLE", "FLOAT", "INT64", "INT32", "BOOL", "UNIX_TIMESTAMP")
"""Types of features that a model can read."""


@dataclass(frozen=True)
class View:
    """What the platform needs to know of a feature view; types are Feast's names, such as STRING."""

    name: str
    join_keys: dict[str, str]
    features: dict[str, str]
    ttl: timedelta | None
    """How old a feature row may be; None means for ever."""


@dataclass(frozen=True)
class Definitions:
    """Feast's own objects, and the same in short."""

    entities: list[Entity]
    feast_views: dict[str, FeatureView]
    feast_service: FeatureService
    views: dict[str, View]
    served: list[tuple[str, str]]
    """(view, feature) in the order of the feature service: what the model reads."""
    defaults: dict[tuple[str, str], float]
    """What stands for a missing value, of the served features that have a default."""

    @cached_property
    def join_keys(self) -> dict[str, str]:
        """Type by name, of all views that the service reads."""
        names = dict.fromkeys(view for view, _ in self.served)
        return {key: kind for name in names for key, kind in self.views[name].join_keys.items()}


def load_definitions(directory: Path, lifecycle: Lifecycle) -> Definitions:
    """Import features.py and collect what it defines; raises SpecError."""
    prepare_feast()
    import feast

    spec = lifecycle.spec.features
    module = load_module(directory, spec.transform.partition(":")[0])
    objects = list(_objects(module))
    entities = {item.name: item for item in objects if isinstance(item, feast.Entity)}
    views = {item.name: item for item in objects if isinstance(item, feast.FeatureView)}
    services = {item.name: item for item in objects if isinstance(item, feast.FeatureService)}
    where = str(module.__file__)
    chosen = {name: _pick(views, name, "feature view", where) for name in spec.views}
    service = _pick(services, spec.service, "feature service", where)
    short = {name: _view(view, entities, where) for name, view in chosen.items()}
    served = [(p.name, feature.name) for p in service.feature_view_projections for feature in p.features]
    _check_projections(service, where)
    _check_service(served, short, lifecycle, where)
    _check_kept(short, lifecycle, where)
    used = {name for view in chosen.values() for name in view.entities}
    return Definitions(
        [entities[name] for name in sorted(used)],
        chosen,
        service,
        short,
        served,
        _defaults(service, served, where),
    )


def _objects(module: ModuleType) -> Iterator[Any]:
    """Module-level values, and what stands in module-level lists and tuples."""
    for value in vars(module).values():
        yield from value if isinstance(value, list | tuple) else (value,)


def _pick(found: dict[str, Any], name: str, kind: str, where: str) -> Any:
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        known = f"did you mean {near[0]!r}?" if near else f"it defines {', '.join(sorted(found)) or 'none'}"
        raise SpecError(f"there is no {kind} {name!r}", where=where, fix=known)
    return found[name]


def _view(view: FeatureView, entities: dict[str, Entity], where: str) -> View:
    _check_stored(view, where)
    _check_source(view, where)
    declared = {field.name: field.dtype for field in view.schema}
    keys = {}
    for name in view.entities:
        entity = _pick(entities, name, "entity", where)
        keys[entity.join_key] = _key_type(entity, declared.get(entity.join_key), where)
    features = {field.name: _type_name(field.dtype) for field in view.features}
    if not features:
        raise SpecError(
            f"feature view {view.name!r} has no features", where=where, fix="give it a schema=[Field(…)]"
        )
    for name in (EVENT_TIMESTAMP, CREATED):
        if name in features or name in keys:
            raise SpecError(
                f"feature view {view.name!r} has a feature or join key {name!r}, which is a time of the row",
                where=where,
                fix="rename it",
            )
    expires = bool(view.ttl) and view.ttl < FOREVER
    return View(view.name, keys, features, view.ttl if expires else None)


def _check_stored(view: FeatureView, where: str) -> None:
    """Raises SpecError for a view whose rows are not just what `transform` returns, or that is not served."""
    computed = ("feature_transformation", "aggregations", "source_views")
    if found := [name for name in computed if getattr(view, name, None)]:
        raise SpecError(
            f"feature view {view.name!r} computes its rows ({found[0]})",
            where=where,
            fix="compute them in transform: the training set reads what that returns",
        )
    if not view.online or not getattr(view, "enabled", True):
        raise SpecError(
            f"feature view {view.name!r} is not to be materialized",
            where=where,
            fix="leave out online=False and enabled=False",
        )


def _check_source(view: FeatureView, where: str) -> None:
    from feast import FileSource
    from feast.data_format import ParquetFormat

    source = view.batch_source
    good = f"FileSource(…, timestamp_field={EVENT_TIMESTAMP!r}, created_timestamp_column={CREATED!r})"
    if source is None or source.timestamp_field != EVENT_TIMESTAMP:
        raise SpecError(
            f"the source of feature view {view.name!r} has no timestamp_field {EVENT_TIMESTAMP!r}",
            where=where,
            fix=good,
        )
    if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
        raise SpecError(
            f"the source of feature view {view.name!r} is no parquet file but {type(source).__name__}",
            where=where,
            fix=f"{good}, without file_format: the platform writes the rows",
        )
    if source.created_timestamp_column not in (None, "", CREATED):
        raise SpecError(
            f"the source of feature view {view.name!r} has created_timestamp_column "
            f"{source.created_timestamp_column!r}",
            where=where,
            fix=good,
        )
    if source.field_mapping:
        raise SpecError(
            f"the source of feature view {view.name!r} has a field_mapping",
            where=where,
            fix="remove it: the platform writes the rows under the names of the features",
        )


def _key_type(entity: Entity, declared: Any, where: str) -> str:
    from feast import ValueType

    kind = entity.value_type if declared is None else declared.to_value_type()
    # What callers of the served model can send.
    if kind in (ValueType.STRING, ValueType.INT64, ValueType.INT32):
        return str(kind.name)
    raise SpecError(
        f"entity {entity.name!r} has no usable type for its join key {entity.join_key!r}",
        where=where,
        fix="Entity(…, value_type=ValueType.STRING) or ValueType.INT64, and the same in the view's schema",
    )


def _type_name(dtype: Any) -> str:
    return str(dtype.to_value_type().name)


def _check_projections(service: FeatureService, where: str) -> None:
    """Raises SpecError for a view under another name or join keys: serving knows only the view's own."""
    for projection in service.feature_view_projections:
        if projection.join_key_map or projection.name_to_use() != projection.name:
            raise SpecError(
                f"feature service {service.name!r} reads view {projection.name!r} under other names",
                where=where,
                fix="take the view as it is, or define a second view with those names",
            )


def _defaults(
    service: FeatureService, served: Iterable[tuple[str, str]], where: str
) -> dict[tuple[str, str], float]:
    columns = {feature: (view, feature) for view, feature in served}
    found = {}
    for tag, text in service.tags.items():
        if not tag.startswith(DEFAULT_TAG):
            continue
        feature = tag.removeprefix(DEFAULT_TAG)
        if feature not in columns:
            near = difflib.get_close_matches(feature, columns, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"it reads {', '.join(columns)}"
            raise SpecError(
                f"tag {tag!r} of feature service {service.name!r} names no feature that it reads",
                where=where,
                fix=fix,
            )
        found[columns[feature]] = _number(tag, text, where)
    return found


def _number(tag: str, text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SpecError(f"tag {tag!r} is {text!r}, not a number", where=where, fix="write it as in '0.5'")
    return number


def _check_kept(views: dict[str, View], lifecycle: Lifecycle, where: str) -> None:
    """Raises SpecError where retention would take feature rows away that a training still joins."""
    days, reach = lifecycle.spec.retention.feature_days, lifecycle.spec.reach_days
    if days is None:
        return
    for view in views.values():
        if view.ttl is None:
            raise SpecError(
                f"feature view {view.name!r} has no ttl, and retention.featureDays is {days}: its rows count "
                "for ever",
                where=where,
                fix="give it a ttl, or leave featureDays out",
            )
        # A file may hold rows dated after its day, and a day of questions begins before its midnight.
        needed = reach + math.ceil(view.ttl / timedelta(days=1)) + LATEST.days + 1
        if days < needed:
            raise SpecError(
                f"retention.featureDays {days} is too short: trainings reach back {reach} days, and rows of "
                f"feature view {view.name!r} count for {needed - reach} more",
                where=where,
                fix=f"let it be {needed} or more",
            )


def _check_service(
    served: Iterable[tuple[str, str]], views: dict[str, View], lifecycle: Lifecycle, where: str
) -> None:
    spec, label = lifecycle.spec.features, lifecycle.spec.label
    asked: dict[str, str] = dict.fromkeys(spec.request, "features.request")
    asked[label.column] = "label"
    if EVENT_TIMESTAMP in asked:
        raise SpecError(
            f"{EVENT_TIMESTAMP!r} is in {asked[EVENT_TIMESTAMP]} and is the moment of the row",
            where=where,
            fix="name it otherwise in entity_rows",
        )
    # Of these a slice may be a join key or a request column too.
    taken: dict[str, str] = dict.fromkeys(lifecycle.spec.evaluation.slices, "evaluation.slices")
    if label.key:
        taken[label.key] = "label.key"
    taken |= asked
    for view, feature in served:
        if view not in views:
            raise SpecError(
                f"feature service {spec.service!r} reads view {view!r}, which the lifecycle does not name",
                where=where,
                fix=f"add {view!r} to spec.features.views",
            )
        if views[view].features[feature] not in NUMERIC:
            raise SpecError(
                f"feature {feature!r} of view {view!r} is {views[view].features[feature]}, and a model reads "
                "numbers only",
                where=where,
                fix=f"encode it in transform as one of {', '.join(NUMERIC)}, or leave it out of the service",
            )
        if feature in taken:
            raise SpecError(
                f"feature {feature!r} is in {taken[feature]} and in {view}",
                where=where,
                fix="rename one of them",
            )
        asked[feature] = taken[feature] = view
    keys = {key for view in views.values() for key in view.join_keys}
    clash = sorted(keys & set(asked))
    if clash:
        raise SpecError(
            f"{clash[0]!r} is a join key and a feature or the label",
            where=where,
            fix="rename one of them (a column has one meaning)",
        )
