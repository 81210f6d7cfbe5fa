"""The columns of a prediction log, in their order. One row for each row of a request and each who answered.

One file holds one model version, because `features` and `entities` have its fields.

    prediction_id     string              of the request; a shadow's is that of the request it copies
    row               int32               within the request, from 0
    time              timestamp[us, UTC]  when the prediction began (as its id says: to the millisecond)
    version           string              model version
    digest            string              of the bundle
    role              string              champion | challenger | fallback | shadow | batch
    key               string?             that the caller gave
    entities          struct?             join key → string or int64; null where features were sent
    event_time        timestamp[us, UTC]? as of when online features were read, or what the caller said
    features          struct              input → float64, as the model got it and in its order: defaults
                                          filled in, null where the model has to do without
    missing           int32               features of the row without a value of its own: null, or a default
    stale             bool?               whether one of them was too old; null where none was read
    prediction        float64
    latency_seconds   float64?            from the request's body to its answer; a shadow's is the model's;
                                          null of a batch prediction
    writer            string              who wrote it: the pod and its life
"""

from __future__ import annotations

from typing import Final, Literal

Role = Literal["champion", "challenger", "fallback", "shadow", "batch"]
ROLES: Final[tuple[Role, ...]] = ("champion", "challenger", "fallback", "shadow", "batch")

PREDICTION_ID: Final = "prediction_id"
ROW: Final = "row"
TIME: Final = "time"
VERSION: Final = "version"
DIGEST: Final = "digest"
ROLE: Final = "role"
KEY: Final = "key"
ENTITIES: Final = "entities"
EVENT_TIME: Final = "event_time"
FEATURES: Final = "features"
MISSING: Final = "missing"
STALE: Final = "stale"
PREDICTION: Final = "prediction"
LATENCY_SECONDS: Final = "latency_seconds"
WRITER: Final = "writer"

COLUMNS: Final = (
    PREDICTION_ID, ROW, TIME, VERSION, DIGEST, ROLE, KEY, ENTITIES, EVENT_TIME, FEATURES, MISSING, STALE,
    PREDICTION, LATENCY_SECONDS, WRITER,
)  # fmt: skip
