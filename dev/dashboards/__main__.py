"""Write charts/windtunnel/dashboards/<uid>.json, or into another directory that is given."""

from __future__ import annotations

import sys
from pathlib import Path

from dev.dashboards import fleet, lifecycle, platform_health, serving
from dev.dashboards.queries import DIRECTORY
from grafana_foundation_sdk.cog.encoder import JSONEncoder

DASHBOARDS = {
    "fleet": fleet.dashboard,
    "lifecycle": lifecycle.dashboard,
    "serving": serving.dashboard,
    "platform": platform_health.dashboard,
}


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        built = dashboard().build()
        # Links to a panel name its number.
        for number, panel in enumerate(built.panels or (), start=1):
            panel.id_val = number
        text = JSONEncoder(sort_keys=True, indent=2).encode(built)
        (directory / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)
