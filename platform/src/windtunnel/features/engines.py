"""The engines that join and materialize, behind one interface: what a lifecycle's `engine` chooses from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from windtunnel.features.online.materialization import ENGINE, materialize_view
from windtunnel.features.staging import StagedRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from feast import FeatureStore, FileSource
    from feast.data_source import DataSource

    from windtunnel.features.daily import Sidecar
    from windtunnel.features.online.materialization import MaterializationReport
    from windtunnel.features.staging import Fetched
    from windtunnel.objects import ObjectStore
    from windtunnel.settings import Settings
    from windtunnel.spec.lifecycle import Engine

OFFLINE_STORE = "windtunnel.features.offline.offline_store.AsofOfflineStore"


class FeatureEngine(Protocol):
    """An offline store and a batch engine of Feast, and how they are used."""

    @property
    def copies(self) -> bool:
        """Whether `fetch` takes room on this machine's disk."""

    def config(self, online: Mapping[str, Any]) -> dict[str, Any]:
        """Feast's configuration of the offline store, the batch engine, and the online store for it."""

    def fetch(
        self, store: ObjectStore, lifecycle: str, view: str, sidecars: Mapping[date, Sidecar], work: Path
    ) -> Fetched:
        """Make a view's files of those days readable."""

    def extent(self, fetched: Fetched) -> tuple[datetime | None, datetime | None]:
        """First and last event timestamp."""

    def source(self, source: FileSource, files: str, join_keys: Sequence[str]) -> DataSource:
        """A view's source over files that were fetched; `source` may be changed."""

    def answers(
        self, store: FeatureStore, service: str, questions: pl.DataFrame, join_keys: Sequence[Sequence[str]]
    ) -> pl.DataFrame:
        """The questions' columns and what the feature service knew then, in any order.

        `questions`: join keys, event_timestamp, and what else is to come back; `join_keys`: of each view.
        """

    def materialize(
        self, store: FeatureStore, view: str, start: datetime, end: datetime
    ) -> MaterializationReport:
        """The newest row of every key with start <= event timestamp <= end → the online store."""


class AsofEngine(StagedRows):
    """The platform's own, in the stage's process."""

    def config(self, online: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "offline_store": {"type": OFFLINE_STORE},
            "batch_engine": {"type": ENGINE},
            "online_store": dict(online),
        }

    def source(self, source: FileSource, files: str, join_keys: Sequence[str]) -> DataSource:  # noqa: ARG002
        source.file_options.uri = files
        return source

    def answers(
        self,
        store: FeatureStore,
        service: str,
        questions: pl.DataFrame,
        join_keys: Sequence[Sequence[str]],  # noqa: ARG002  (they are told apart as they are)
    ) -> pl.DataFrame:
        job = store.get_historical_features(
            entity_df=questions.to_arrow(),
            features=store.get_feature_service(service),
            filter_by_created_timestamp=True,
        )
        return pl.DataFrame(job.to_arrow())

    def materialize(
        self, store: FeatureStore, view: str, start: datetime, end: datetime
    ) -> MaterializationReport:
        return materialize_view(store, view, start, end)


def feature_engine(engine: Engine, settings: Settings) -> FeatureEngine:
    """Raises PermanentError when this environment cannot run it."""
    if engine == "asof":
        return AsofEngine()
    # Spark's module is for those who have Spark.
    from windtunnel.features.spark.configuration import spark_engine

    return spark_engine(settings.spark_conf)
