"""Features: partitions, feature rows and what Feast makes of them.

Here belongs everything between a clean partition and the features that a model reads, offline and online.
What a stage does with it, in which order and with which facts, belongs into `stages`; how the serving runtime
reads the online store, into `features.online_reader` and what that imports: small modules that know neither
Feast nor pandas nor polars.
"""

from __future__ import annotations
