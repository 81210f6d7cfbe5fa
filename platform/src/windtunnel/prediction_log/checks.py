"""Whether a table can be one of the log's: a file that somebody changed must not be taken for an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import DataError
from windtunnel.prediction_log import columns

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT: Final = (
    columns.PREDICTION_ID, columns.VERSION, columns.DIGEST, columns.ROLE, columns.WRITER, columns.KEY,
)  # fmt: skip
_MAY_BE_NULL: Final = {
    columns.KEY, columns.ENTITIES, columns.EVENT_TIME, columns.STALE, columns.LATENCY_SECONDS,
}  # fmt: skip


def check_schema(schema: Any, where: str) -> None:
    """Raises DataError unless an Arrow schema has the log's columns, with their kinds of types."""
    missing = [name for name in columns.COLUMNS if name not in schema.names]
    if missing:
        raise _none(f"it has no {', '.join(missing)}", where)
    kinds = _kinds()
    for name in columns.COLUMNS:
        # A column without any value is written without a type, or with any.
        if name not in _MAY_BE_NULL:
            _check_type(name, schema.field(name).type, kinds, where)


def check_values(table: Any, where: str) -> None:
    """Raises DataError for rows without a value where there always is one, or of a role that there is not."""
    kinds = _kinds()
    for name in columns.COLUMNS:
        nulls = table[name].null_count
        if nulls and name not in _MAY_BE_NULL:
            raise _none(f"a row has no {name}", where)
        if nulls < table.num_rows:
            _check_type(name, table[name].type, kinds, where)
    unknown = sorted(set(table[columns.ROLE].to_pylist()) - set(columns.ROLES))
    if unknown:
        raise _none(f"a row has the role {unknown[0][:80]!r}", where)


def _check_type(name: str, found: Any, kinds: dict[str, Callable[[Any], bool]], where: str) -> None:
    if not kinds[name](found):
        raise _none(f"its {name} is {found}", where)


def _kinds() -> dict[str, Callable[[Any], bool]]:
    from pyarrow import types

    def is_text(kind: Any) -> bool:
        return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))

    return {
        **dict.fromkeys(_TEXT, is_text),
        **dict.fromkeys((columns.ROW, columns.MISSING), types.is_integer),
        **dict.fromkeys((columns.TIME, columns.EVENT_TIME), types.is_timestamp),
        **dict.fromkeys((columns.ENTITIES, columns.FEATURES), types.is_struct),
        **dict.fromkeys((columns.PREDICTION, columns.LATENCY_SECONDS), types.is_floating),
        columns.STALE: types.is_boolean,
    }


def _none(why: str, where: str) -> DataError:
    return DataError(
        f"this is no file of a prediction log: {why}", where=where, fix="move it elsewhere, or restore it"
    )
