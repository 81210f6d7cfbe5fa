"""Hostile requests by the ten thousand; `python -m tests.fuzz` sends them (tests/support/hostile_*.py)."""
