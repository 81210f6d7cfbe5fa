"""What the chart lets `airflow db clean` take out, held against the Airflow that is installed."""

from __future__ import annotations

import re
from pathlib import Path

from airflow.utils.db_cleanup import _effective_table_names, config_dict

TEMPLATE = Path(__file__).parents[3] / "charts/windtunnel/templates/airflow/retention/cronjob.yaml"
OF_FAB = {"session"}
"""Known to db clean only where FAB keeps its sessions in the database, as the chart has it."""


def tables() -> set[str]:
    """As the template lists them."""
    [found] = re.findall(r"\$tables := list ([^}]*)}}", TEMPLATE.read_text())
    return set(re.findall(r'"(\w+)"', found))


def test_every_table_is_one_that_airflow_cleans() -> None:
    """Airflow leaves out what it doesn't know, with a warning that nobody would read."""
    assert tables() - OF_FAB <= set(config_dict)


def test_no_table_brings_one_along_that_must_stay() -> None:
    """db clean adds the tables that depend on those that are asked for."""
    cleaned, _ = _effective_table_names(table_names=sorted(tables() - OF_FAB))
    assert not {"dag", "trigger", "import_error"} & set(cleaned)
    # All that grows with each run.
    assert {"dag_run", "task_instance", "task_instance_history", "xcom", "log", "job"} <= set(cleaned)


def test_the_last_run_of_a_schedule_stays() -> None:
    assert config_dict["dag_run"].keep_last
    assert config_dict["dag_run"].keep_last_group_by == ["dag_id"]
    assert config_dict["dag_version"].skip_if_referenced == [("task_instance", "dag_version_id")]
