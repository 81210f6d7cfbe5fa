"""Features against stock Feast and against the bare libraries; `python -m tests.bench.features` runs all
three tables."""
