"""What many lifecycles cost: `python -m tests.bench.growth`, and on a cluster `tests.bench.growth.queue`."""
