"""`engine: spark`: Feast's own Spark offline store and engine, configured for a lifecycle."""

from __future__ import annotations
