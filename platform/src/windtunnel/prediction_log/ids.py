"""What the id of a prediction tells: a UUID of version 7 begins with the moment that it was made."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from windtunnel.errors import RequestError

_DIGITS = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXAMPLE = "019abf3c-4e2a-7c1d-8a55-0e4b6f1d2c3b"
_SHOWN = 60


@dataclass(frozen=True)
class PredictionId:
    """An id in its one spelling, and the moment in it (UTC, to the millisecond)."""

    text: str
    time: datetime

    @property
    def hour(self) -> datetime:
        """The beginning of the hour whose files hold it."""
        return self.time.replace(minute=0, second=0, microsecond=0)


def parse_id(text: str) -> PredictionId:
    """Read an id as people paste it: in capitals, in quotes, without hyphens. Raises RequestError."""
    found = _DIGITS.fullmatch(text.strip().strip("\"'").lower())
    if not found:
        raise _no_id(text, _what_is_wrong(text))
    digits = "".join(found.groups())
    if digits[12] != "7":
        raise _no_id(text, f"it is a UUID of version {digits[12]}, and ids of predictions have version 7")
    if digits[16] not in "89ab":
        raise _no_id(text, f"its 17th digit is {digits[16]}, where a UUID has 8, 9, a or b")
    try:
        time = _EPOCH + timedelta(milliseconds=int(digits[:12], 16))
    except OverflowError:
        raise _no_id(text, "the moment in it lies after the year 9999") from None
    return PredictionId("-".join(found.groups()), time)


def derived_id(time: datetime, content: bytes) -> str:
    """The id of what `content` describes, made at `time` (not before 1970): the same each time it is asked
    for.
    """
    milliseconds = (time - _EPOCH) // timedelta(milliseconds=1)
    random = int.from_bytes(hashlib.sha256(content).digest()[:10], "big")
    number = milliseconds << 80 | random
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(3 << 62) | 2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _what_is_wrong(text: str) -> str:
    stripped = text.strip().strip("\"'")
    if not stripped:
        return "it is empty"
    if "…" in stripped or stripped.endswith("..."):
        return "it is shortened"
    odd = next((letter for letter in stripped if letter.lower() not in "0123456789abcdef-"), None)
    if odd is not None:
        return f"{odd!r} is no hexadecimal digit"
    count = len(stripped.replace("-", ""))
    return f"it has {count} digits, an id has 32" if count != 32 else "its hyphens stand in other places"


def _no_id(text: str, why: str) -> RequestError:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return RequestError(
        f"{shown!r} is no id of a prediction: {why}",
        where="PREDICTION_ID",
        fix=f"give the answer's parameters.prediction_id whole, as in {_EXAMPLE}",
    )
