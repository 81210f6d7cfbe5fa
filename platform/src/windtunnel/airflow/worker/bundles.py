"""DAG bundles as they are configured: Airflow's DagBundlesManager without its table in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.dag_processing.bundles.base import BaseDagBundle


class BundleManager:
    """Stands in for airflow.dag_processing.bundles.manager.DagBundlesManager."""

    def get_bundle(self, name: str, version: str | None = None) -> BaseDagBundle:
        """Raises ValueError where no bundle has the name."""
        for bundle in conf.getjson("dag_processor", "dag_bundle_config_list") or []:
            if bundle["name"] == name:
                kind = import_string(bundle["classpath"])
                return kind(name=name, version=version, **bundle["kwargs"])  # type: ignore[no-any-return]
        raise ValueError(f"Requested bundle '{name}' is not configured.")
