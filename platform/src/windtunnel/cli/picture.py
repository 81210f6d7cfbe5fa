"""A ServedModel as a picture for the terminal. Pure: what was read in, renderables out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from windtunnel.cli.words import act_words, ago, condition, elapsed, guard_words, share
from windtunnel.rollout.history import acts, seat, unseated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from windtunnel.spec.servedmodel import Act, RolloutEvidence, ServedModel

_BAR: Final = 30
_LAST_ACTS: Final = 6
_PHASES: Final = {"Ready": "green", "Degraded": "bold red", "Progressing": "yellow", "Pending": "yellow"}
_ACTIONS: Final = {
    "promotion": ("promoted", "green"),
    "rollback": ("rolled back", "yellow"),
    "refusal": ("refused", "red"),
    "taken_back": ("taken back", "bold red"),
}
_CONCLUSIONS: Final = {"NotWorse": ("not worse", "green"), "Worse": ("worse", "bold red")}


def picture(
    model: ServedModel, label: str, pods: Sequence[dict[str, Any]] | None, now: datetime, note: str = ""
) -> RenderableType:
    """Champion, challenger, rollout, guard, evidence, pods and the last acts. `note`: what cannot be read."""
    parts: list[RenderableType] = [_title(model, label, now), Text(), _facts(model, now)]
    if pods:
        parts += [Text(), _pods(pods, now)]
    if acts(model):
        parts += [Text(), _acts(acts(model)[-_LAST_ACTS:], now)]
    if note:
        parts += [Text(), Text(note, "yellow")]
    return Group(*parts)


def _title(model: ServedModel, label: str, now: datetime) -> Text:
    text = Text()
    text.append(model.spec.lifecycle, "bold")
    text.append(f"  {label}", "dim")
    status = model.status
    if status is not None and status.observed_generation is not None:
        text.append(f"  {status.phase}", _PHASES[status.phase])
        text.append(f"  {status.ready} pods")
    text.append(f"  {now.astimezone():%H:%M:%S}", "dim")
    return text


def _facts(model: ServedModel, now: datetime) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(model, now):
        table.add_row(name, value)
    return table


def _rows(model: ServedModel, now: datetime) -> list[tuple[str, RenderableType]]:
    spec, status = model.spec, model.status
    act = seat(model)
    since = f"{told_by(act)}, {ago(act.at, now)}" if act else "nobody told how it came there"
    rows: list[tuple[str, RenderableType]] = [
        ("champion", _seat(spec.champion.version, 100 - spec.traffic, "green", since))
    ]
    if unseated(model):
        rows.append(("", Text("changed without an act: the controller is about to tell of it", "yellow")))
    if spec.challenger is not None:
        state = status.challenger.state if status and status.challenger else "not reported yet"
        rows.append(
            ("challenger", _seat(spec.challenger.version, spec.traffic, "cyan", f"{state}; {share(spec)}"))
        )
        if status and status.challenger and status.challenger.message:
            rows.append(("", Text(status.challenger.message, "red")))
    if spec.rollout is not None:
        rows.append(("rollout", _rollout(model, now)))
    if spec.challenger is not None:
        rows.append(("guard", Text.from_markup(guard_words(model))))
        evidence = status.challenger.evidence if status and status.challenger else None
        if evidence is not None:
            rows.append(("evidence", _evidence(evidence)))
    degraded = condition(model, "Degraded")
    if degraded is not None and degraded.status == "True":
        rows.append(("degraded", Text(f"{degraded.reason}: {degraded.message}", "red")))
    rows.append(("previous", Text(_previous(model))))
    rows.append(("ledger", _ledger(model)))
    return rows


def _seat(version: str, percent: int, colour: str, words: str) -> Text:
    full = round(percent * _BAR / 100)
    if 0 < percent < 100:
        full = min(max(full, 1), _BAR - 1)
    text = Text()
    text.append(f"{version:<6}", "bold")
    text.append("█" * full, colour)
    text.append("░" * (_BAR - full), "dim")
    text.append(f" {percent:>3} %  ")
    text.append(words, "dim")
    return text


def _rollout(model: ServedModel, now: datetime) -> Text:
    rollout = model.spec.rollout
    assert rollout is not None, "the caller looked"
    text = Text()
    step = f"{rollout.phase} {model.spec.traffic} %" if rollout.phase == "Canary" else rollout.phase
    text.append(step, "bold cyan")
    text.append(f"  for {elapsed((now - rollout.since).total_seconds())}")
    if rollout.approved:
        text.append(f"  approved{f' by {rollout.approved_by}' if rollout.approved_by else ''}", "green")
    elif rollout.phase == "Paused":
        text.append(f"  goes on after `windtunnel promote {model.spec.lifecycle}`", "yellow")
    text.append(f"  run {rollout.run_id}", "dim")
    return text


def _evidence(evidence: RolloutEvidence) -> RenderableType:
    first = Text(
        f"{evidence.requests:,} requests, {evidence.faults:,} faults   "
        f"(champion {evidence.champion_requests:,}, {evidence.champion_faults:,}); "
        f"{evidence.step_requests:,} requests in this step"
    )
    table = Table.grid(padding=(0, 2))
    for test in evidence.tests:
        bound = f"at most {test.at_most:.2%}" if test.at_most is not None else "nothing shown yet"
        table.add_row(
            test.name,
            Text(*_CONCLUSIONS.get(test.conclusion, ("unclear", "yellow"))),
            Text(f"{bound}, allowed {test.allowed:.2%}", "dim"),
        )
    return Group(first, table)


def _previous(model: ServedModel) -> str:
    previous, warm = model.spec.previous, model.status.warm if model.status else ()
    if previous is None:
        return "none: there is nowhere to go back to"
    others = [one for one in warm if one != previous.version]
    also = f"; warm as well: {', '.join(others)}" if others else ""
    how = "warm in every pod" if previous.version in warm else "is loaded when it is needed"
    return f"{previous.version}, {how}{also}"


def _ledger(model: ServedModel) -> Text:
    said = condition(model, "Recorded")
    recorded = model.status.recorded if model.status else 0
    waiting = sum(act.number > recorded for act in acts(model))
    if said is not None and said.status == "False":
        return Text(f"{said.reason}: {said.message}", "yellow")
    if waiting:
        return Text(f"{waiting} acts are on their way", "yellow")
    return Text(f"has all acts up to {recorded}" if recorded else "no acts yet", "dim")


def _pods(pods: Sequence[dict[str, Any]], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("pod", "state", "restarts", "age", "node"):
        table.add_column(column, no_wrap=column != "pod", overflow="fold")
    for pod in pods:
        status = pod.get("status", {})
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
        state = Text("ready", "green") if ready else Text(status.get("phase", "Unknown").lower(), "yellow")
        if "deletionTimestamp" in pod["metadata"]:
            state = Text("ending", "dim")
        restarts = sum(one.get("restartCount", 0) for one in status.get("containerStatuses", ()))
        born = datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).astimezone(UTC)
        table.add_row(
            pod["metadata"]["name"],
            state,
            str(restarts),
            elapsed((now - born).total_seconds()),
            pod.get("spec", {}).get("nodeName", ""),
        )
    return table


def _acts(told: Sequence[Act], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("act", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("version", no_wrap=True)
    table.add_column("when", no_wrap=True)
    table.add_column("by", overflow="fold")
    table.add_column("why", overflow="fold")
    for act in reversed(told):
        table.add_row(
            str(act.number),
            Text(*_ACTIONS[act.action]),
            act_words(act),
            ago(act.at, now),
            escape(act.by + (f", {act.run_id}" if act.run_id else "")),
            escape(act.reason),
        )
    return table


def told_by(act: Act) -> str:
    """Such as `promoted by stage/rollout in run manual__2013`."""
    run = f" in run {act.run_id}" if act.run_id else ""
    return f"{_ACTIONS[act.action][0]} by {act.by or 'unknown'}{run}"
