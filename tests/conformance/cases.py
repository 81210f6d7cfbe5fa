"""Small histories by hand, one for each thing that engines differ in."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from .histories import HOUR, KEYS, MOMENT, START, TYPES, History, Keys, Stamps
from .oracle import Row, View


def row(number: int, hour: float, k: Any = 1, c: Any = "x", **changed: Any) -> Row:
    """A feature row dated `hour` hours after the start, known at once."""
    event = START + round(hour * HOUR)
    return {
        "k": k, "c": c, MOMENT: event, "created": event, "number": number, "maybe": None, "many": None,
        **changed,
    }  # fmt: skip


def entity(*rows: tuple[Any, float | None]) -> list[Row]:
    """Entity rows of (k, hour)."""
    return [
        {"row": at, "k": k, "k2": k, "c": "x", MOMENT: None if hour is None else START + round(hour * HOUR)}
        for at, (k, hour) in enumerate(rows)
    ]


def view(
    rows: list[Row], keys: dict[str, str] | None = None, number: int = 0, stored: Any = None, **changed: Any
) -> View:
    options = {"created": "created", **changed}
    return View(
        f"view_{number}", rows, {"k": "k"} if keys is None else keys, {"number": f"number_{number}"},
        types={"k": stored or pa.int64(), **TYPES}, **options,
    )  # fmt: skip


def history(
    views: list[View],
    entity_rows: list[Row],
    known_then: bool = False,
    asked: Stamps | None = None,
    stored: Stamps | None = None,
    keys: Keys = KEYS[0],
    cut: int = 0,
) -> History:
    return History(views, entity_rows, known_then, asked or Stamps(), stored or Stamps(), keys, cut)


LATE = START + 3 * HOUR
CASES: dict[str, History] = {
    "one row each": history([view([row(1, 0), row(2, 1)])], entity((1, 0.5), (2, 0.5), (1, 3))),
    "order": history([view([row(1, 0), row(2, 1, k=2)])], entity((2, 5), (1, 3), (3, 9), (2, 1), (1, 7))),
    "equal entity rows": history([view([row(1, 0)])], entity((1, 5), (1, 5))),
    "null key": history([view([row(1, 0, k=None), row(2, 0)])], entity((None, 5), (1, 5))),
    "null second key": history(
        [view([row(1, 0), row(2, 1, c=None)], keys={"k": "k", "c": "c"})],
        [{**entity((1, 9))[0], "c": None}],
    ),
    "NaN key": history(
        [view([row(1, 0, k=float("nan"))], stored=pa.float64())], entity((float("nan"), 1)), keys=KEYS[4]
    ),
    "null moment": history([view([row(2, 0)])], entity((1, None), (1, 5))),
    "equal timestamps": history([view([row(n, 0) for n in range(5)], created=None)], entity((1, 5))),
    "equal timestamps in two files": history(
        [view([row(1, 0), row(2, 0)], created=None)], entity((1, 5)), cut=2
    ),
    "created breaks a tie": history(
        [view([row(1, 0, created=START + HOUR), row(2, 0, created=START + 2 * HOUR), row(3, 0)])],
        entity((1, 5)),
    ),
    "null created breaks no tie": history(
        [view([row(1, 0, created=START + HOUR), row(2, 0, created=None), row(3, 0)])], entity((1, 5))
    ),
    "null created is never known": history(
        [view([row(1, 0, created=None), row(2, -1)])], entity((1, 5)), known_then=True
    ),
    "late row, filtered": history(
        [view([row(1, 0), row(2, 1, created=LATE)])], entity((1, 2), (1, 4)), known_then=True
    ),
    "late row, Feast's default": history(
        [view([row(1, 0), row(2, 1, created=LATE)])], entity((1, 2), (1, 4))
    ),
    "ttl of zero": history([view([row(1, 0)], ttl=0)], entity((1, 5))),
    "both ends of the ttl": history([view([row(1, 0)], ttl=HOUR)], entity((1, 1), (1, 0), (1, 1.001))),
    "ttl of a day and an hour": history([view([row(1, 0)], ttl=25 * HOUR)], entity((1, 25))),
    "newest value is null": history([view([row(1, 0), row(None, 1)])], entity((1, 2))),  # type: ignore[arg-type]
    "nanoseconds asked": history(
        [view([row(1, 0)])], [{**entity((1, 0))[0], MOMENT: START + 1}], asked=Stamps("ns")
    ),
    "nanoseconds stored": history(
        [view([row(1, 0, **{MOMENT: START + 1})])], entity((1, 0)), stored=Stamps("ns")
    ),
    "naive rows": history([view([row(1, 0)])], entity((1, 0), (1, -1)), stored=Stamps("us", None)),
    "rows in another zone": history(
        [view([row(1, 0)])], entity((1, 0), (1, -1)), stored=Stamps("us", "Asia/Kolkata")
    ),
    "asked in another zone": history(
        [view([row(1, 0)])], entity((1, 0), (1, -1)), asked=Stamps("us", "America/New_York")
    ),
    "no entities": history([view([row(1, 0), row(2, 1)], keys={})], entity((1, 0), (2, 9))),
    "other names of keys": history(
        [view([row(1, 0), row(2, 1, k=2)], keys={"k2": "k"})], [{**entity((1, 9))[0], "k2": 2}]
    ),
    "two views": history(
        [view([row(1, 0)]), view([row(5, 0, k=2)], keys={"k2": "k"}, number=1)],
        [{**item, "k2": 2} for item in entity((1, 9), (2, 9), (1, 9))],
    ),
    "no entity rows": history([view([row(1, 0)])], []),
    "no feature rows": history([view([])], entity((1, 1))),
    "integers with a hole": history([view([row(1, 0)])], entity((1, 1), (None, 1)), keys=KEYS[2]),
    "text keys": history(
        [view([row(1, 0, k="a")], stored=pa.large_string())], entity(("a", 2), ("b", 2)), keys=KEYS[6]
    ),
}
