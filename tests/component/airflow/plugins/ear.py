"""A plugin whose listener says in a task's log what it hears of."""

from __future__ import annotations

import logging
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)


class Ear:
    @hookimpl
    def on_starting(self, component: Any) -> None:
        log.info("heard that %s starts", type(component).__name__)

    @hookimpl
    def before_stopping(self, component: Any) -> None:
        log.info("heard that %s stops", type(component).__name__)

    @hookimpl
    def on_task_instance_running(self, task_instance: Any) -> None:
        log.info("heard that %s runs", task_instance.task_id)

    @hookimpl
    def on_task_instance_success(self, task_instance: Any) -> None:
        log.info("heard that %s succeeded", task_instance.task_id)

    @hookimpl
    def on_task_instance_failed(self, task_instance: Any, error: Any) -> None:
        log.info("heard that %s failed: %s", task_instance.task_id, error)

    @hookimpl
    def on_task_instance_skipped(self, task_instance: Any) -> None:
        log.info("heard that %s skipped itself", task_instance.task_id)


class EarPlugin(AirflowPlugin):  # type: ignore[misc]
    name = "ear"
    listeners = [Ear()]  # noqa: RUF012 - as Airflow declares it
