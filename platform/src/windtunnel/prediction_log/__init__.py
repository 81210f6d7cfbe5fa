"""The prediction log: what was answered, by whom and on which features, as parquet in the object store.

Here is what both its writers (serving, the score stage) and its readers (`why`, monitoring) agree on: keys of
the objects, columns, sampling, and reading. Serving's own part, off the request's path, is
windtunnel.serving.prediction_log.
"""
