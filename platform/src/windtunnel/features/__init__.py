"""Features: partitions, feature rows and what Feast makes of them.

Here belongs everything between a clean partition and the features that a model reads. The modules at this
level know a lifecycle; below it are `offline` (the point-in-time join, Feast's plugin), `online` (the layout
in Redis, its writer and its reader) and `spark` (Feast's own engine), which know Feast at most. What a stage
does with it, in which order and with which facts, belongs into `stages`; serving imports
`online.online_reader` and what that needs: small modules that know neither Feast nor pandas nor polars.
"""

from __future__ import annotations
