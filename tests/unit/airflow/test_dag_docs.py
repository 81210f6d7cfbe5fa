from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from jinja2.sandbox import SandboxedEnvironment

from windtunnel.airflow import dag_docs
from windtunnel.airflow.dag_docs import APPROVAL_BODY
from windtunnel.spec import load_lifecycle
from windtunnel.spec.stages import STAGES

from .conftest import on_drift

if TYPE_CHECKING:
    from pathlib import Path

FACTS = {
    "decision": "promote",
    "reasons": ["better by 0.02", "no slice is worse"],
    "version": "7",
    "champion_version": "6",
    "metrics": {
        "challenger": {"auc": 0.66, "brier": 0.17},
        "champion": {"auc": 0.64, "brier": 0.18},
        "base_rate": {"auc": 0.5},
    },
}


def test_who_approves_sees_the_verdict_its_reasons_and_whom_it_is_compared_with() -> None:
    task = SimpleNamespace(xcom_pull=lambda task_ids: {"facts": FACTS} if task_ids == "evaluate" else None)
    assert SandboxedEnvironment().from_string(APPROVAL_BODY).render(ti=task).splitlines() == [
        "**Version 7, in the place of 6.",
        "Verdict: promote**",
        "",
        "- better by 0.02",
        "- no slice is worse",
        "",
        "| | challenger | base_rate | champion |",
        "|---|---|---|---|",
        "| auc | 0.66 | 0.5 | 0.64 |",
        "| brier | 0.17 | None | 0.18 |",
    ]


def test_every_task_says_what_it_does() -> None:
    assert set(dag_docs.STAGES) == {*STAGES, "plan", "plan_materialize", "approve"}


def test_the_page_of_the_features_says_how_past_days_are_filled(lifecycles: Path) -> None:
    lifecycle = load_lifecycle(lifecycles / "wind")
    features = dag_docs.lifecycle(lifecycle, "features")
    assert "windtunnel backfill wind --from DAY --to DAY --airflow URL" in features
    assert "\n| param | |\n" in features
    assert "backfill wind" not in dag_docs.lifecycle(lifecycle, "train")


def test_the_page_of_the_training_says_that_drift_starts_it_where_it_does(lifecycles: Path) -> None:
    plain = dag_docs.lifecycle(load_lifecycle(lifecycles / "wind"), "train")
    assert "whenever all feature views have been materialized." in plain
    on_drift(lifecycles / "wind")
    looped = dag_docs.lifecycle(load_lifecycle(lifecycles / "wind"), "train")
    assert "whenever all feature views have been materialized and when drift lasts." in looped


def test_the_page_of_the_monitoring_says_how_to_look_from_a_terminal(lifecycles: Path) -> None:
    page = dag_docs.lifecycle(load_lifecycle(lifecycles / "wind"), "monitor")
    assert "windtunnel monitor wind --airflow URL" in page
    assert "only by hand." in page
