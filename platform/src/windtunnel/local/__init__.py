"""Run a lifecycle on a laptop: the same stages, in order, each in a child process."""
