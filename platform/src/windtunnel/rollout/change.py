"""Changing a ServedModel: read, decide, write if nobody wrote in between, else look again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import ConflictError, NotFoundError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import ServedModel

_TRIES: Final = 5


def change(
    served_models: ServedModels,
    name: str,
    decide: Callable[[ServedModel], Mapping[str, Any] | None],
    *,
    drop_annotation: str = "",
) -> tuple[ServedModel, bool]:
    """The ServedModel afterwards, and whether it was written.

    `decide` gets what is there and returns the changes of its spec, or None for none; it may be asked
    several times, and what it raises ends the change. Raises NotFoundError, and TemporaryError when others
    write all the time.
    """
    for _ in range(_TRIES):
        current = served_models.get(name)
        if current is None:
            raise NotFoundError(
                "there is no such ServedModel",
                where=f"ServedModel {name}",
                fix="the first promotion makes it: `windtunnel run`, or the lifecycle's train DAG",
            )
        changes = decide(current)
        dropped = bool(drop_annotation) and drop_annotation in (current.metadata.annotations or {})
        if changes is None and not dropped:
            return current, False
        wanted = current.model_copy(update={"spec": current.spec.model_copy(update=dict(changes or {}))})
        try:
            written = served_models.replace(
                wanted,
                current.metadata.resource_version or "",
                drop_annotation=drop_annotation if dropped else "",
            )
        except ConflictError:
            # Somebody wrote in between: look again, it may not matter, or may be ours whose answer was lost.
            continue
        return written, changes is not None
    raise crowded(name)


def crowded(name: str) -> TemporaryError:
    """Too many others write."""
    return TemporaryError(
        f"somebody else wrote in between {_TRIES} times in a row; nothing was changed",
        where=f"ServedModel {name}",
        fix="try again",
    )
