"""Airflow's description of its settings, as JSON: reading it as YAML is a twentieth of a worker's start.

`python -m windtunnel.airflow.worker.description` writes it when the image is built; without it, or where
another Airflow has been installed since, the YAML is read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from windtunnel.airflow.worker.tested import VERSIONS

FILE = Path(sys.prefix, "share", "windtunnel", "airflow-settings.json")


def install() -> None:
    """Before the configuration is asked for anything."""
    from airflow.sdk import configuration

    read_yaml = configuration.retrieve_configuration_description
    configuration.retrieve_configuration_description = lambda: read() or read_yaml()


def read() -> dict[str, Any]:
    """Empty where there is none of this Airflow."""
    try:
        kept = json.loads(FILE.read_bytes())
    except (OSError, ValueError):
        return {}
    described: dict[str, Any] = kept["described"] if kept["versions"] == VERSIONS else {}
    return described


def write() -> None:
    """Of the YAML that the present environment has, whatever was written before."""
    FILE.unlink(missing_ok=True)
    from windtunnel.airflow.worker import stand_ins

    stand_ins.install()  # Airflow's own __init__ would write into its home
    from airflow.sdk.configuration import retrieve_configuration_description

    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({"versions": VERSIONS, "described": retrieve_configuration_description()}))


if __name__ == "__main__":
    write()
