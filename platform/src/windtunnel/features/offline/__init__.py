"""Feast's offline side: parquet files, the point-in-time join, and the plugin that Feast calls.

`as_of_join` says what an answer is, `parquet_rows` what is read for it; `offline_store` is the plugin.
Nothing here knows a lifecycle.
"""

from __future__ import annotations
