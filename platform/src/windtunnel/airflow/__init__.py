"""Airflow: the DAG factory, the operator that starts a stage, task logs, worker pods' labels.

Here belongs everything that knows Airflow; only this package imports it. It never imports
windtunnel.stages: a stage runs in another environment (/opt/stage) and is started by name. Nothing is
imported here, because Airflow loads windtunnel.airflow.task_log while it is itself half imported.
"""
