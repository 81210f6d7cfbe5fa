"""Run every measurement."""

from __future__ import annotations

from tests.bench.drift import __main__ as drift_bench
from tests.bench.exporter import __main__ as exporter_bench
from tests.bench.features import __main__ as features_bench
from tests.bench.growth import __main__ as growth_bench
from tests.bench.monitoring import __main__ as monitoring_bench
from tests.bench.overhead import __main__ as overhead_bench
from tests.bench.serving import __main__ as serving_bench

if __name__ == "__main__":
    serving_bench.main()
    features_bench.main()
    drift_bench.main()
    monitoring_bench.main()
    exporter_bench.main()
    growth_bench.main()
    # Last: it brings up the one-node cluster.
    overhead_bench.main()
