"""The exporter: what Windtunnel recorded, as Prometheus metrics.

Here belongs reading what others wrote (stage records, measures, ledgers, freshness, ServedModels), summing
it up, and showing it at /metrics. Nothing is decided and nothing measured here: what a metric says must stand
in a record first. Metrics of requests are the serving pods' own.
"""

from __future__ import annotations
