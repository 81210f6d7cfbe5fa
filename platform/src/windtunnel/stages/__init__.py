"""One module per stage; each has `identity(request, env)` and `run(request, env)`. See stages/base.py.

Here belongs what a stage does from its request to its result. What Feast, MLflow or a gate is belongs into
the packages below (features, registry, rollout, stats); how a stage is started, into airflow and local.
"""
