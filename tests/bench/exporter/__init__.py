"""The exporter's scrapes with many lifecycles: `python -m tests.bench.exporter`."""
