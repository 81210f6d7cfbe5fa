#!/usr/bin/env python3
"""Build, push and lock Windtunnel's images: `dev/images.py --help` teaches how (code: dev/imaging/)."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from dev.imaging.cli import main

    sys.exit(main(sys.argv[1:]))
