"""What Airflow's pages say about the DAGs and their tasks, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.airflow.run_params import params_of

if TYPE_CHECKING:
    from windtunnel.spec import Lifecycle

PURPOSES = {
    "features": "From sources to feature rows, offline and online.",
    "train": "Trains a challenger, judges it against the champion, rolls it out.",
    "score": "Scores past days with the champion, or a version that is named, in batches.",
    "monitor": "Looks whether what serves still sees what it was trained on, and still answers as well.",
    "retain": "Takes out of the object store what no lifecycle needs any more.",
}

STAGES = {
    "plan": "Says which days the run is about, and cuts them into slices for extract and transform.",
    "plan_materialize": "Cuts the same days into the longer slices of materialize.",
    "extract": "Reads the sources' partitions of these days, checks their schema, sets bad rows aside.",
    "transform": "Calls the lifecycle's `transform` for each of these days and writes feature rows.",
    "materialize": "Writes the newest row of each key in this slice of the view's days to the online store, "
    "where serving reads it. A newer value that is there already stays, so slices may run in any order.",
    "publish": "Says how fresh each view is, and tells the DAGs that wait for features. Skipped, its work "
    "done, when the days are older than the newest ones published before: a backfill starts no training.",
    "snapshot": "Freezes a training set by point-in-time join: no row knows what came after it.",
    "train": "Calls the lifecycle's `train`, registers the model version, writes and proves its bundle.",
    "evaluate": "Judges challenger and champion on the same fresh days. A refusal skips the rollout.",
    "approve": "Waits for a person: Approve or Reject under *Required Actions*. Reject skips the rollout.",
    "rollout": "Makes the challenger the champion of the ServedModel, exactly once.",
    "score": "Scores this shard of the days; predictions go to the object store, in the format of the "
    "prediction log. All shards of a run are scored by one version.",
    "monitor": "Measures the newest predictions, their features and the labels that have come against the "
    "model's evaluation; writes the measure and a report. Drift that lasts starts a training, where "
    "`monitoring.retrain.onDrift` is on.",
    "retain": "Deletes what nothing of the lifecycle refers to any more, and what is older than its "
    "`retention` says. What serves, may serve again or answered a prediction that is still in the log stays.",
}

APPROVAL_BODY = """\
{%- set facts = ti.xcom_pull(task_ids='evaluate')['facts'] -%}
{%- set metrics = facts.get('metrics', {}) -%}
{%- set columns = ['challenger'] + metrics|reject('equalto', 'challenger')|sort -%}
**Version {{ facts.get('version') }}, in the place of {{ facts.get('champion_version') or 'none' }}.
Verdict: {{ facts['decision'] }}**

{% for reason in facts.get('reasons', []) -%}
- {{ reason }}
{% endfor %}
| |{% for who in columns %} {{ who }} |{% endfor %}
|---|{{ '---|' * columns|length }}
{% for name in metrics.get('challenger', {}) -%}
| {{ name }} |{% for who in columns %} {{ metrics[who].get(name) }} |{% endfor %}
{% endfor -%}
"""

_LIFECYCLE = """\
### {title}

{description}

Owner: {owner} · spec `{digest}` · one of the DAGs that Windtunnel makes from `lifecycle.yaml`.

**What it does**: {purpose}

**When**: {schedule}

**By hand**: press *Trigger*, or `POST /api/v2/dags/{dag_id}/dagRuns` with
`{{"logical_date": null, "conf": {{…}}}}`.{by_hand}

| param | |
|---|---|
{params}

Every task is a stage in a pod of its own. A stage whose inputs and code have not changed answers from the
cache.
"""

_BACKFILL = """

**Past days**: `windtunnel backfill {name} --from DAY --to DAY --airflow URL`, or the params `start` and
`end`. What is served keeps its newer values.\
"""

_SCORE = """

**From a terminal**: `windtunnel score {name} --from DAY --to DAY --airflow URL`.\
"""

_MONITOR = """

**From a terminal**: `windtunnel monitor {name} --airflow URL`. Pictures: `windtunnel report {name}`.\
"""

_BY_HAND = {"features": _BACKFILL, "score": _SCORE, "monitor": _MONITOR}

RETAIN = """\
### What is kept, and what goes

A task for each lifecycle: what nothing refers to any more, and what is older than `retention` in its
`lifecycle.yaml` says, is deleted from the object store. What serves, what may serve again (the history of the
ServedModel), and what answered a prediction that is still in the log stays, however old it is.

**To look first**: press *Trigger* and set `dry_run`; the task logs say what would go, and nothing is deleted.

**To stop it**: pause this DAG. Nothing else depends on it.
"""

_BROKEN = """\
### The lifecycle {name} cannot be read

```
{error}
```

Its DAGs come back when `{name}/lifecycle.yaml` is mended; the DAGs of other lifecycles are not touched.
Check it before you push: `windtunnel validate {name}`.
"""


def lifecycle(lifecycle: Lifecycle, dag: str) -> str:
    """The page of one of a lifecycle's DAGs."""
    metadata = lifecycle.metadata
    rows = (f"| `{name}` | {param.description} |" for name, param in params_of(dag).items())
    return _LIFECYCLE.format(
        title=f"{metadata.name}: {dag}",
        description=metadata.description,
        owner=metadata.owner,
        digest=lifecycle.digest.removeprefix("sha256:")[:12],
        purpose=PURPOSES[dag],
        schedule=_schedule(lifecycle, dag),
        dag_id=f"{metadata.name}__{dag}",
        by_hand=_BY_HAND.get(dag, "").format(name=metadata.name),
        params="\n".join(rows),
    )


def broken(name: str, error: Exception) -> str:
    """The page of the DAG that stands in for a lifecycle that cannot be read."""
    return _BROKEN.format(name=name, error=error)


def _schedule(lifecycle: Lifecycle, dag: str) -> str:
    spec = lifecycle.spec
    schedule = {
        "features": spec.features.schedule,
        "train": spec.training.schedule,
        "monitor": spec.monitoring.schedule,
    }.get(dag)
    when = []
    if schedule == "features":
        when.append("whenever all feature views have been materialized")
    elif schedule is not None:
        when.append(f"by cron `{schedule}`, UTC")
    if dag == "train" and spec.monitoring.retrain.on_drift:
        when.append("when drift lasts")
    return " and ".join(when or ["only by hand"]) + "."
