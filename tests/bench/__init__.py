"""Measurements against peers in the same run on the same machine; `python -m tests.bench` runs them all."""
