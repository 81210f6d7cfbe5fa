"""Takes a model version in: bundle verified against its digests, rehearsed on its golden requests, then
ready."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from windtunnel.features.online.online_reader import OnlineReader, OnlineView
from windtunnel.registry.rehearsal import read_rehearsed
from windtunnel.serving.inputs import REQUEST, InputPlan
from windtunnel.serving.memory import resident_bytes
from windtunnel.serving.model import LoadedVersion, VersionInterface
from windtunnel.serving.predictions import prediction_edges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from windtunnel.features.online.online_reader import RedisClient
    from windtunnel.objects import ObjectStore
    from windtunnel.spec.servedmodel import ModelVersion

log = logging.getLogger(__name__)


class BundleLoader:
    """Loads versions from an object store; callable, as the updater wants it."""

    def __init__(self, store: ObjectStore, online_store: RedisClient | None) -> None:
        self._store = store
        self._online_store = online_store

    def __call__(self, lifecycle: str, wanted: ModelVersion) -> LoadedVersion:
        """Raises IntegrityError for wrong content, NotFoundError, StoreError, PermanentError."""
        before = resident_bytes()
        bundle = read_rehearsed(self._store, lifecycle, wanted)
        return LoadedVersion(
            **vars(self.interface(lifecycle, wanted, bundle.manifest)),
            predictor=bundle,
            prediction_edges=prediction_edges(bundle.manifest["output"]["name"], bundle.golden[1]),
            memory_bytes=max(0, resident_bytes() - before),
        )

    def size(self, version: ModelVersion) -> int:
        """Bytes of the bundle's files. Raises StoreError."""
        prefix = self._store.key(version.bundle.rstrip("/"))
        return sum(entry.size for entry in self._store.list(f"{prefix}/"))

    def interface(
        self, lifecycle: str, wanted: ModelVersion, manifest: Mapping[str, Any]
    ) -> VersionInterface:
        """How requests become the input of the model that a manifest describes. Raises PermanentError."""
        features = {feature["name"]: feature["source"] for feature in manifest["features"]}
        views = [_view(view) for view in manifest["online"]["views"]]
        reader = self._reader(manifest["online"], views, features)
        join_keys = {name: kind for view in views for name, kind in view.join_keys.items()} if reader else {}
        return VersionInterface(
            lifecycle=lifecycle,
            version=wanted.version,
            digest=wanted.digest,
            runtime=manifest["runtime"],
            output=manifest["output"]["name"],
            plan=InputPlan(features, join_keys),
            inputs=(manifest["features"], manifest["online"]),
            single_precision=manifest.get("input", {}).get("dtype") == "float32",
            reader=reader,
            online_columns=tuple(
                position for position, source in enumerate(features.values()) if source != REQUEST
            ),
        )

    def _reader(
        self, online: Mapping[str, Any], views: list[OnlineView], features: Mapping[str, str]
    ) -> OnlineReader | None:
        if not views:
            return None
        if self._online_store is None:
            log.warning("no online store is set: requests must send every feature")
            return None
        columns = [_column(source) for source in features.values() if source != REQUEST]
        return OnlineReader(self._online_store, online["project"], views, columns, _defaults(online, columns))


def _view(view: Mapping[str, Any]) -> OnlineView:
    return OnlineView(
        name=view["name"],
        join_keys={key["name"]: key["type"] for key in view["join_keys"]},
        features=tuple(feature["name"] for feature in view["features"]),
        ttl_seconds=float(view["ttl_seconds"]),
    )


def _defaults(online: Mapping[str, Any], columns: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """What the feature service declares for features without a value; only those that the model uses."""
    declared = {
        (view["name"], feature["name"]): float(feature["default"])
        for view in online["views"]
        for feature in view["features"]
        if feature.get("default") is not None
    }
    return {column: declared[column] for column in columns if column in declared}


def _column(source: str) -> tuple[str, str]:
    view, _, feature = source.partition(":")
    return view, feature
