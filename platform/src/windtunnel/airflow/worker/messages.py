"""Airflow's protocol, made as it is needed.

It has 144 pydantic models, and unions of them by which a message is told what it is: a sixth of a worker's
start. A task's messages are of a dozen types, so here a model is made when the first of its kind comes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

import pydantic

if TYPE_CHECKING:
    from collections.abc import Iterator

_Adapter = pydantic.TypeAdapter
_MEMBER = "type"
"""What tells the messages apart."""


@contextmanager
def made_when_needed() -> Iterator[None]:
    """For what is imported in it; models that are defined later are made at once, as ever."""
    config = pydantic.BaseModel.model_config
    pydantic.BaseModel.model_config = {**config, "defer_build": True}
    vars(pydantic)["TypeAdapter"] = _adapter
    try:
        yield
    finally:
        pydantic.BaseModel.model_config = config
        vars(pydantic)["TypeAdapter"] = _Adapter


class Messages:
    """In the place of a TypeAdapter of a union: each message is read by the model of its type."""

    def __init__(self, union: Any, models: dict[str, type[pydantic.BaseModel]]) -> None:
        self._union = union
        self._models = models

    def validate_python(self, message: Any) -> Any:
        """As the adapter does; raises pydantic.ValidationError, of the adapter for an unknown type."""
        kind = message.get(_MEMBER) if isinstance(message, dict) else None
        model = self._models.get(kind) if isinstance(kind, str) else None
        return model.model_validate(message) if model else _Adapter(self._union).validate_python(message)


def _adapter(of: Any, **settings: Any) -> Any:
    models = _by_type(of)
    return Messages(of, models) if models else _Adapter(of, **settings)


def _by_type(of: Any) -> dict[str, type[pydantic.BaseModel]]:
    """The models of a union that is told apart by `type`; empty for anything else."""
    union, *more = get_args(of) or (None,)
    if not any(getattr(one, "discriminator", None) == _MEMBER for one in more):
        return {}
    return {
        name: model for model in get_args(union) for name in get_args(model.model_fields[_MEMBER].annotation)
    }
