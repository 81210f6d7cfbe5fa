"""The one error that ends a command of this tool with a message instead of a traceback."""

from __future__ import annotations


class ClusterError(Exception):
    """Says what failed, where, and how to mend it."""
