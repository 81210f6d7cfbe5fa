"""Windtunnel: declare a model's lifecycle once; every stage of it runs as an isolated pod.

This package holds only its version. What the packages below are for, and who may import whom, stands in
`[tool.importlinter]` of the repository's pyproject.toml and in docs/architecture.md.
"""

from __future__ import annotations

__version__ = "0.1.0"
