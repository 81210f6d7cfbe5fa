"""The model that all servers have, and what they are asked: gradient-boosted trees over ten features, six of
which Windtunnel can also read from Redis."""

from __future__ import annotations

import json
import pickle
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import redis
from served_bundle import LIFECYCLE, tensor
from sklearn.ensemble import HistGradientBoostingClassifier

from windtunnel.features.online.online_layout import entity_key_head, feature_field
from windtunnel.registry.bundle import write_bundle
from windtunnel.registry.conversion import convert, predict_estimator
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.objects import ObjectStore

_CARRIER, _ROUTE = ("delay_mean", "late_share", "flights"), ("delay_mean", "late_share", "wind_delay")
_REQUEST = ("hour", "minute_of_day", "weekday", "distance")
FEATURES = {
    **{f"carrier_{name}": f"carrier_day:{name}" for name in _CARRIER},
    **{f"route_{name}": f"route_day:{name}" for name in _ROUTE},
    **dict.fromkeys(_REQUEST, "request"),
}
_VIEWS = [
    {
        "name": view,
        "join_keys": [{"name": key, "type": "STRING"}],
        "ttl_seconds": 7 * 86400,
        "features": [{"name": name, "type": "Float64"} for name in names],
    }
    for view, key, names in (("carrier_day", "carrier", _CARRIER), ("route_day", "route", _ROUTE))
]
_ENTITIES = {"carrier": "UA", "route": "JFK-SFO"}
ROW = [12.5, 0.25, 1800.0, 9.5, 0.2, 3.5, 17.0, 1035.0, 3.0, 2586.0]


class BenchModel:
    """Trained once a run; each version is a bundle of it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        random = np.random.default_rng(5)
        self._inputs = random.normal(size=(4000, len(FEATURES))) * np.abs(ROW)
        labels = self._inputs[:, 0] / 12.5 + self._inputs[:, 3] / 9.5 + random.normal(size=4000) > 0
        estimator = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=100, max_leaf_nodes=4, early_stopping=False, random_state=0
        ).fit(pd.DataFrame(self._inputs, columns=list(FEATURES)), labels)
        self._converted = convert(estimator, "binary", list(FEATURES), self._inputs)
        assert self._converted.runtime == "onnx", self._converted.refused
        self._estimator = estimator
        golden = self._inputs[:20]
        self._golden = (golden, predict_estimator(estimator, "binary", list(FEATURES), golden))

    def version(self, version: str) -> ModelVersion:
        """Write a bundle; `version` is its name."""
        description = {
            "lifecycle": LIFECYCLE,
            "runtime": self._converted.runtime,
            "input": self._converted.input,
            "output": self._converted.output,
            "parity": self._converted.parity,
            "features": [{"name": name, "source": source} for name, source in FEATURES.items()],
            "online": {"project": LIFECYCLE, "views": _VIEWS},
            "version": version,
        }
        written = write_bundle(self._store, description, self._converted.model, self._golden)
        return ModelVersion(version=version, bundle=written.uri, digest=written.digest)

    def save(self, onnx: Path, pickled: Path) -> None:
        """What the peers take: the ONNX alone, or the estimator as it was trained."""
        onnx.write_bytes(self._converted.model)
        pickled.write_bytes(pickle.dumps(self._estimator))


def fill_redis(port: int) -> None:
    """Write the asked entity's features in Feast's layout, a minute old."""
    stamp = struct.pack("<Q", int(time.time()) - 60)
    with redis.Redis(port=port) as client:
        for view in _VIEWS:
            (key,) = (key["name"] for key in view["join_keys"])
            value = _ENTITIES[key].encode()
            name = entity_key_head([key]) + struct.pack("<II", 2, len(value)) + value + LIFECYCLE.encode()
            fields = {
                feature_field(view["name"], feature["name"]): b"\x29" + struct.pack("<d", 0.25)
                for feature in view["features"]
            }
            client.hset(name, mapping={f"_ts:{view['name']}".encode(): _varint(stamp), **fields})


def _varint(stamp: bytes) -> bytes:
    """A protobuf Timestamp of whole seconds."""
    number, out = struct.unpack("<Q", stamp)[0], b"\x08"
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def by_vector() -> bytes:
    """An Open Inference request of one row as one tensor."""
    return encoded({"inputs": [tensor("features", "FP64", ROW, [1, len(ROW)])]})


def by_column() -> bytes:
    """The same, one tensor for each feature."""
    named = zip(FEATURES, ROW, strict=True)
    return encoded({"inputs": [tensor(name, "FP64", [value]) for name, value in named]})


def by_entity() -> bytes:
    """The same row by its join keys and what callers send themselves."""
    keys = [tensor(name, "BYTES", [value]) for name, value in _ENTITIES.items()]
    sent = zip(_REQUEST, ROW[-len(_REQUEST) :], strict=True)
    return encoded({"inputs": [*keys, *(tensor(name, "FP64", [value]) for name, value in sent)]})


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
