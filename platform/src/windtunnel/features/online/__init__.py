"""Feast's online side: the byte layout in Redis and Valkey, who writes it and who reads it.

`materialization` fills an online store, `online_reader` reads one for serving; both stand on `online_layout`.
Nothing here knows a lifecycle.
"""

from __future__ import annotations
