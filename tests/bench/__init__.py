"""Measurements against peers in the same run on the same machine; `python -m tests.bench` runs them all."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "platform" / "src"), str(ROOT / "tests" / "support")]
