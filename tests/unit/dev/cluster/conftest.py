"""The development cluster's modules are a program of their own, not part of the distribution."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[4] / "dev" / "cluster"))
