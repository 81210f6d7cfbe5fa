"""JSON schema of lifecycle.yaml, for editors: `python -m windtunnel.spec.schema`."""

from __future__ import annotations

import json
import sys
from typing import Any

from windtunnel.spec.lifecycle import Lifecycle


def lifecycle_schema() -> dict[str, Any]:
    """The schema that editors check lifecycle.yaml by; what code it names and cron they cannot check."""
    schema = Lifecycle.model_json_schema(by_alias=True, mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Windtunnel lifecycle",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def render() -> str:
    return json.dumps(lifecycle_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
