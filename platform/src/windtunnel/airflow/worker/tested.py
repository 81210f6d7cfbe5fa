"""Where the lean worker may run: with the Airflow that it was tested with, and without what it leaves out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSIONS = {"apache-airflow-core": "3.3.2", "apache-airflow-task-sdk": "1.3.2"}
"""What tests/component/airflow/test_workers.py runs both workers on; the stand-ins fit no others."""
_STOCK_ONLY = {
    ("traces", "otel_on"): "OpenTelemetry",
    ("logging", "remote_logging"): "log handlers but Windtunnel's own",
}
STOCK = "set stages.worker to stock in the chart's values"


def check_versions(version_of: Callable[[str], str] = importlib.metadata.version) -> None:
    """Raises PermanentError where another Airflow is installed."""
    for distribution, tested in VERSIONS.items():
        found = version_of(distribution)
        if found != tested:
            raise PermanentError(
                f"the lean worker was tested with {distribution} {tested} and finds {found}",
                where="the stage image's /opt/airflow",
                fix=f"{STOCK}, or install {tested}",
            )


def check_settings() -> None:
    """Raises PermanentError where the pod asks for what only the stock worker does."""
    from airflow.sdk.configuration import conf

    if policies := next(_policies(), ""):
        raise PermanentError(
            f"the lean worker does not apply the cluster policies of {policies}",
            where="the stage pod's Python path",
            fix=STOCK,
        )
    for (section, option), missing in _STOCK_ONLY.items():
        if conf.getboolean(section, option, fallback=False):
            name = f"AIRFLOW__{section}__{option}".upper()
            raise PermanentError(
                f"the lean worker has no {missing}", where=f"{name} of the stage pod", fix=STOCK
            )


def _policies() -> Iterator[str]:
    """Where Airflow's core looks for them."""
    if importlib.util.find_spec("airflow_local_settings") is not None:
        yield "airflow_local_settings.py"
    for plugin in importlib.metadata.entry_points(group="airflow.policy"):
        yield plugin.value
