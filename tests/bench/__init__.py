"""Measurements against peers in the same run on the same machine; `python -m tests.bench` runs them all."""

import os
import sys
from pathlib import Path

# Ours and peers start from bytecode, as where they are installed; some machines forbid that it is written.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "platform" / "src"), str(ROOT / "tests" / "support")]
