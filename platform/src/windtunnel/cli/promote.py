"""`windtunnel promote`: a human's word for a rollout that waits, or for a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from windtunnel.cli.acting import bundle_check, confirm, finish, keep_bundle, utc_now, wait_until_served
from windtunnel.cli.console import out
from windtunnel.cli.words import ago, guard_words, share
from windtunnel.errors import ConflictError, PermanentError
from windtunnel.rollout.change import change
from windtunnel.rollout.history import former_champions, taken_back
from windtunnel.rollout.promotion import Candidate, promote

if TYPE_CHECKING:
    from windtunnel.cli.targets import Target
    from windtunnel.spec.servedmodel import ModelVersion, RolloutState, ServedModel


def approve(target: Target, yes: bool) -> None:
    """Let the rollout go on: past its pause, or past the step whose evidence is not enough yet."""
    model = target.get()
    rollout, challenger = model.spec.rollout, model.spec.challenger
    if rollout is None or challenger is None:
        version = f" {challenger.version}" if challenger else " VERSION"
        raise PermanentError(
            "no rollout goes on that could be approved",
            where=f"ServedModel {model.metadata.name}",
            fix=f"`windtunnel promote {target.lifecycle}{version}` gives a version the seat at once",
        )
    if rollout.approved:
        out.print(f"This step of the rollout of version {challenger.version} is approved already.")
        return
    if not confirm(target, _approval_lines(model, rollout, challenger), "Approve?", yes):
        return

    def decide(current: ServedModel) -> dict[str, Any] | None:
        now = current.spec.rollout
        # Who approves a step approves that one, not the next.
        if now is None or (now.run_id, now.phase, now.since) != (
            rollout.run_id,
            rollout.phase,
            rollout.since,
        ):
            raise ConflictError(
                "the rollout has moved on meanwhile; nothing was changed",
                where=f"ServedModel {current.metadata.name}",
                fix=f"look again: `windtunnel status {target.lifecycle}`",
            )
        if now.approved:
            return None
        return {"rollout": now.model_copy(update={"approved": True, "approved_by": target.by[:250]})}

    change(target.served_models, target.name, decide)
    out.print(f"[green]✓[/] approved; the rollout of version {challenger.version} goes on by itself")


def promote_version(target: Target, version: str, reason: str, yes: bool) -> None:
    """Give the seat to the challenger, a former champion or any registered version, by a human's word."""
    model = target.get()
    if model.spec.champion.version == version:
        out.print(f"Version {version} is the champion of {target.lifecycle} already.")
        return
    wanted = _find(target, model, version)
    if not confirm(target, _seat_lines(model, wanted), "Promote?", yes):
        return
    bundle_check(target)(wanted)
    keep_bundle(target, wanted)
    done = promote(
        target.served_models,
        Candidate(
            lifecycle=target.lifecycle,
            champion=wanted,
            expected_champion=model.spec.champion.version,
            run_id="",
            by=target.by,
            reason=reason or "by hand",
        ),
        utc_now(),
    )
    finish(target, done.served_model)
    out.print(
        f"[green]✓[/] version {version} is the champion"
        if done.changed
        else f"Somebody was faster: version {version} is the champion already."
    )
    wait_until_served(target, version)


def _find(target: Target, model: ServedModel, version: str) -> ModelVersion:
    known = [*([model.spec.challenger] if model.spec.challenger else []), *former_champions(model)]
    found = next((one for one in known if one.version == version), None)
    return found or target.registered(version)


def _approval_lines(model: ServedModel, rollout: RolloutState, challenger: ModelVersion) -> list[str]:
    spec = model.spec
    if rollout.phase == "Paused":
        what = "goes on with its next step"
    elif rollout.phase == "Shadow":
        what = "leaves the shadow without more evidence"
    else:
        what = "ends this step without more evidence"
    return [
        f"champion    {spec.champion.version}",
        f"challenger  [bold]{challenger.version}[/] with {share(spec)}, {rollout.phase} since "
        f"{ago(rollout.since)}; guard: {guard_words(model)}",
        f"its rollout {what}; the guard goes on watching",
    ]


def _seat_lines(model: ServedModel, wanted: ModelVersion) -> list[str]:
    spec = model.spec
    lines = [
        f"champion    [bold]{spec.champion.version} → {wanted.version}[/], with all requests, "
        "without any evidence from a rollout"
    ]
    if (act := taken_back(model, wanted)) is not None:
        lines.append(f"[red]it was taken back {ago(act.at)} by {escape(act.by)}: {escape(act.reason)}[/]")
    if spec.challenger == wanted:
        lines.append(f"its rollout ends here, with {share(spec)}; guard: {guard_words(model)}")
    elif spec.challenger is not None:
        lines.append(f"challenger  {spec.challenger.version} goes, with {share(spec)}; its rollout ends")
    return lines
