"""Settings: the one place that reads the process environment's WINDTUNNEL_* variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_LIFECYCLES = "dags/lifecycles"


def without_credentials(url: str) -> str:
    """The URL as errors and logs may show it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def sqlite_path(url: str) -> str:
    """The file of a `sqlite:///…` URL, empty for another one. What stands there is a path as it is: in a
    directory called `C#` the file would be another one by URL's rules.
    """
    scheme, _, path = url.partition("://")
    return path if scheme == "sqlite" else ""


@dataclass(frozen=True)
class Settings:
    """Where everything is."""

    store: str
    """Object store: `s3://bucket[/prefix]` or a directory. Credentials and endpoint: AWS_* variables."""
    lifecycles: Path = Path(DEFAULT_LIFECYCLES)
    """Directory with one directory per lifecycle."""
    online_store: str = ""
    """`redis://host:port/db`, or `sqlite:///abs/path` in local mode; empty where no stage needs it."""
    online_store_password: str = field(default="", repr=False)
    tracking_uri: str = ""
    """MLflow's tracking URI."""
    served_models: str = ""
    """`kubernetes:<namespace>`, or a directory in local mode."""
    code_version: str = ""
    """What stamps models and records; empty means the digest of the lifecycle's files."""
    spark_conf: str = field(default="", repr=False)
    """Spark's configuration for lifecycles with `engine: spark`: a JSON object; empty means local[*]."""
    stage_class: str = ""
    """The class of the pod that a stage runs in; empty on a laptop."""
    price_per_hour: float | None = None
    """What an hour of that pod costs; None where the platform's values don't say."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Raises PermanentError when WINDTUNNEL_STORE is not set; everything else has a default."""
        store = environ.get("WINDTUNNEL_STORE", "")
        if not store:
            raise PermanentError(
                "WINDTUNNEL_STORE is not set",
                where="environment",
                fix="set it to s3://bucket[/prefix] or to a directory",
            )
        return cls(
            store=store,
            lifecycles=Path(environ.get("WINDTUNNEL_LIFECYCLES") or DEFAULT_LIFECYCLES),
            online_store=environ.get("WINDTUNNEL_ONLINE_STORE", ""),
            online_store_password=environ.get("WINDTUNNEL_ONLINE_STORE_PASSWORD", ""),
            tracking_uri=environ.get("MLFLOW_TRACKING_URI", ""),
            served_models=environ.get("WINDTUNNEL_SERVED_MODELS", ""),
            code_version=environ.get("WINDTUNNEL_CODE_VERSION", ""),
            spark_conf=environ.get("WINDTUNNEL_SPARK_CONF", ""),
            stage_class=environ.get("WINDTUNNEL_STAGE_CLASS", ""),
            price_per_hour=price(environ.get("WINDTUNNEL_PRICE_PER_HOUR", "")),
        )


def price(text: str) -> float | None:
    """A price as an environment variable holds it; None when it is empty. Raises PermanentError."""
    try:
        return float(text) if text else None
    except ValueError:
        raise PermanentError(
            f"{text!r} is no price",
            where="WINDTUNNEL_PRICE_PER_HOUR",
            fix="give the stage class a number as pricePerHour in the chart's values",
        ) from None
