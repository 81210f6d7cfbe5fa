"""Which requests the challenger answers: by a hash of the request's key, so that a key stays on its side.

Raising the traffic only moves keys from the champion to the challenger, lowering it only back. Another
challenger draws other keys: the version is part of the hash, or the same callers would try every novelty.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from windtunnel.serving.inputs import Batch
    from windtunnel.serving.protocol import InferRequest

_SLOTS: Final = 10_000


class Split:
    """The challenger's share of the keys, `percent` of 100. Equal in every pod and after every restart."""

    def __init__(self, lifecycle: str, version: str, percent: int) -> None:
        self.percent = percent
        self._limit = percent * _SLOTS // 100
        self._salted = blake2b(f"{lifecycle}\0{version}\0".encode(), digest_size=8)

    def takes(self, key: str) -> bool:
        """Whether the challenger answers this key."""
        salted = self._salted.copy()
        # a caller's JSON may hold half of a surrogate pair
        salted.update(key.encode("utf-8", "surrogatepass"))
        return int.from_bytes(salted.digest(), "big") % _SLOTS < self._limit


def request_key(request: InferRequest, batch: Batch, prediction_id: str) -> str:
    """What keeps a request on its side: the key that the caller gives, else the entity of the first row (a
    batch goes one way), else nothing but its own id."""
    if (key := request.said.key) is not None:
        return str(key)
    if batch.entities:
        return "\0".join(str(values[0]) for values in batch.entities.values())
    return prediction_id
