"""`make demo`: from a bare machine to served predictions, each stage in its own pod."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, date, datetime

from rich.markup import escape
from rich.table import Table

from windtunnel.errors import WindtunnelError

from .ask import Answer, ask
from .console import DemoError, console, step
from .follow import Followed, PodWatch
from .install import install
from .kubectl import KubectlError
from .target import current_cluster, dev_cluster
from .thread import Platform, asked_at, follow_triggered_train, load_sources, reach, run_features

LIFECYCLE = "flight_delay"
RELEASE = NAMESPACE = "windtunnel"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Install Windtunnel, take real flights through every stage, and ask the served model.",
    )
    parser.add_argument(
        "--cluster",
        choices=("dev", "current"),
        default="dev",
        help="dev: a one-node cluster made on this machine; current: the one kubectl points to",
    )
    parser.add_argument(
        "--registry",
        default="",
        help="with --cluster current: where to push our images, and pull them from",
    )
    parser.add_argument(
        "--start",
        type=date.fromisoformat,
        default=date(2013, 1, 1),
        help="first day of data",
    )
    parser.add_argument(
        "--end",
        type=date.fromisoformat,
        default=date(2013, 2, 11),
        help="last day of data",
    )
    arguments = parser.parse_args()
    try:
        demo(arguments.cluster, arguments.registry, arguments.start, arguments.end)
    except (DemoError, KubectlError, WindtunnelError) as error:
        console.print(f"\n[bold red]The demo stopped.[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped by hand. What runs keeps running; `make demo` goes on, `make down` ends it.")
        return 130
    return 0


def demo(cluster: str, registry: str, start: date, end: date) -> None:
    begun = datetime.now(UTC)
    with step("Cluster and images"):
        target = dev_cluster() if cluster == "dev" else current_cluster(registry)
    with step("Install the chart"):
        install(target, RELEASE, NAMESPACE)
    with reach(target.kubectl, RELEASE, NAMESPACE) as platform:
        with step(f"Load the flights of {start} to {end} as daily source partitions"):
            console.print(f"  {load_sources(platform, LIFECYCLE, start, end)} days were missing")
        pods = PodWatch(target.kubectl, platform.stages)
        since = datetime.now(UTC)
        with step(f"{LIFECYCLE}__features"):
            features = run_features(platform, pods, LIFECYCLE, start, end)
        with step(f"{LIFECYCLE}__train, set off by fresh features"):
            train = follow_triggered_train(platform, pods, LIFECYCLE, since)
        pods.close()
        with step("Ask the served model"):
            answers = ask(platform, LIFECYCLE, asked_at(end))
        _report(platform, pods, [features, train], answers)
    console.print(f"\n[bold green]Done[/] in {(datetime.now(UTC) - begun).total_seconds():.0f} s.")


def _report(platform: Platform, pods: PodWatch, runs: list[Followed], answers: list[Answer]) -> None:
    _report_pods(pods, runs)
    _report_verdict(platform, runs[-1])
    for answer in answers:
        console.print(f"\n[bold]{answer.title}[/]  {escape(answer.question)}")
        console.print(
            f"  probability of being late [bold]{answer.value:.3f}[/]   model version {answer.version}"
            f"   prediction {answer.prediction_id}   missing features {answer.missing_features}"
            f"   [dim]{answer.milliseconds:.1f} ms[/]"
        )
    console.print("\n[bold]kubectl get servedmodels[/]")
    console.print(platform.kubectl.run("get", "servedmodels", "-n", platform.namespace))
    kubectl = " ".join(platform.kubectl.argv())
    secret = f"{platform.release}-airflow-admin"
    console.print(
        f"""[bold]Look around[/]
  export kubectl="{kubectl} -n {platform.namespace}"
  Airflow   $kubectl port-forward svc/{platform.release}-airflow-api-server 8080   → http://localhost:8080
            user admin, password:
            $kubectl get secret {secret} -o go-template='{{{{.data.password | base64decode}}}}'
  MLflow    $kubectl port-forward svc/{platform.release}-mlflow 5000               → http://localhost:5000
  model     $kubectl port-forward svc/{LIFECYCLE.replace("_", "-")} 8000:80
            → http://localhost:8000/v2/models/{LIFECYCLE}

[bold]Try next[/]
  make demo again (nothing changed: seconds a stage)
  change dags/lifecycles/{LIFECYCLE}/train.py and make demo: the gate decides
  fill past days in parallel pods: .venv/bin/windtunnel backfill --help
  .venv/bin/windtunnel init my_model · make down ends it""",
        soft_wrap=True,
    )


def _report_pods(pods: PodWatch, runs: list[Followed]) -> None:
    table = Table(
        title="Stage pods: one per stage run",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("stage", "pod", "image", "node", "seconds"):
        table.add_column(column, justify="right" if column == "seconds" else "left", no_wrap=True)
    for run in runs:
        for task in run.tasks:
            if task.started and task.pod:
                seen = pods.of(task)
                image = seen.image.rpartition("/")[2]
                table.add_row(
                    f"{run.dag_id}.{task.name}",
                    seen.name,
                    image,
                    seen.node,
                    f"{task.seconds:.1f}",
                )
    console.print()
    console.print(table)


def _report_verdict(platform: Platform, train: Followed) -> None:
    facts = platform.api.result(train.dag_id, train.run_id, "evaluate")["facts"]
    console.print(f"\n[bold]Verdict[/] {facts['decision']}")
    for reason in facts["reasons"]:
        console.print(f"  · {escape(reason)}")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    metrics = facts["metrics"]
    columns = sorted(metrics, key=lambda who: (who != "challenger", who))
    for who in columns:
        table.add_column(who, justify="right")
    for name in metrics["challenger"]:
        figures = (metrics[who].get(name) for who in columns)
        table.add_row(f"  {name}", *("" if figure is None else f"{figure:.4f}" for figure in figures))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
