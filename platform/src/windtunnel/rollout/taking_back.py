"""Taking a challenger's traffic and shadow away: one write, which also says why.

The reason is an act in the history, written together with the spec, so that whoever dies afterwards (the
controller before it wrote the status) takes no reason along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import NotFoundError
from windtunnel.rollout.change import change
from windtunnel.rollout.history import taken_back, with_act

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import Act, ModelVersion, ServedModel

GUARD: Final = "controller/guard"


def take_back(
    served_models: ServedModels,
    name: str,
    challenger: ModelVersion,
    reason: str,
    message: str,
    at: datetime,
    *,
    by: str = GUARD,
) -> ServedModel | None:
    """Set traffic to 0 and shadow to false, if that challenger has any, and end its rollout; returns the
    ServedModel then.

    None: that challenger is gone, and nothing was written. Raises TemporaryError when others write to the
    ServedModel all the time, or the API server does not answer.
    """
    gone = False

    def decide(current: ServedModel) -> dict[str, Any] | None:
        nonlocal gone
        spec = current.spec
        gone = spec.challenger != challenger
        if gone or not (spec.traffic or spec.shadow):
            return None
        return with_act(
            {"traffic": 0, "shadow": False, "rollout": None},
            current,
            "taken_back",
            challenger,
            at=at,
            by=by,
            run_id=spec.rollout.run_id if spec.rollout else "",
            reason=f"{reason}: {message}",
        )

    try:
        written, _ = change(served_models, name, decide)
    except NotFoundError:
        return None
    return None if gone else written


def why_taken_back(model: ServedModel) -> tuple[str, str] | None:
    """The reason and the message of the last taking back of the present challenger."""
    challenger = model.spec.challenger
    act: Act | None = taken_back(model, challenger) if challenger else None
    if act is None:
        return None
    reason, _, message = act.reason.partition(": ")
    return (reason, message) if message else ("TakenBack", reason)
