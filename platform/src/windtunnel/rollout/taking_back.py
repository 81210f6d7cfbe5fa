"""Taking a challenger's traffic and shadow away: one write, which also says why.

The reason is an annotation of the ServedModel and written together with the spec, so that whoever dies
afterwards (the controller before it wrote the status) takes no reason along.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from windtunnel.errors import ConflictError, TemporaryError

if TYPE_CHECKING:
    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import ModelVersion, ServedModel

ANNOTATION: Final = "windtunnel.dev/taken-back"
_TRIES: Final = 5


@dataclass(frozen=True)
class TakenBack:
    """Which challenger was taken back last, and why."""

    version: str
    digest: str
    reason: str
    message: str
    at: str
    """UTC, ISO 8601."""

    @classmethod
    def of(cls, model: ServedModel) -> TakenBack | None:
        """What the ServedModel says of its present challenger; None also for what nobody can read."""
        try:
            said = cls(**json.loads((model.metadata.annotations or {})[ANNOTATION]))
        except (KeyError, ValueError, TypeError):
            return None
        challenger = model.spec.challenger
        if challenger is None or (said.version, said.digest) != (challenger.version, challenger.digest):
            return None
        return said


def take_back(
    served_models: ServedModels, name: str, challenger: ModelVersion, reason: str, message: str, at: str
) -> ServedModel | None:
    """Set traffic to 0 and shadow to false, if that challenger has any; returns the ServedModel then.

    None: that challenger is gone, and nothing was written. Raises TemporaryError when others write to the
    ServedModel all the time, or the API server does not answer.
    """
    said = TakenBack(challenger.version, challenger.digest, reason, message, at)
    for _ in range(_TRIES):
        current = served_models.get(name)
        if current is None or current.spec.challenger != challenger:
            return None
        if not current.spec.traffic and not current.spec.shadow:
            return current
        annotations = {**(current.metadata.annotations or {}), ANNOTATION: json.dumps(asdict(said))}
        wanted = current.model_copy(
            update={
                "metadata": current.metadata.model_copy(update={"annotations": annotations}),
                "spec": current.spec.model_copy(update={"traffic": 0, "shadow": False}),
            }
        )
        try:
            return served_models.replace(wanted, current.metadata.resource_version or "")
        except ConflictError:
            continue  # somebody wrote in between: look again whose challenger it is
    raise TemporaryError(
        f"somebody else wrote in between {_TRIES} times in a row",
        where=f"ServedModel {name}",
        fix="try again",
    )
