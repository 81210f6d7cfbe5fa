"""The ServedModel: which model version serves, and what the cluster says about it.

These types are the only description of the custom resource: the rollout stage writes it, the controller and
the serving runtime read it, and the Kubernetes schema (`servedmodel_crd`) follows from them. They take what
they don't know in silence, because a pod of an older release must go on serving after the resource has
learned a new field; the API server is the one that refuses unknown fields.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

GROUP = "windtunnel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ServedModel"
PLURAL = "servedmodels"

LifecycleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}[a-z0-9]$", max_length=41)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
VersionName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", min_length=1, max_length=63)
]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", max_length=20)]
ResourceName = Literal["cpu", "memory", "ephemeral-storage"]
Quantities = Annotated[
    dict[ResourceName, Quantity],
    Field(
        max_length=3,
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'])",
                    "message": "known resources are cpu, memory and ephemeral-storage",
                }
            ]
        },
    ),
]

TRAFFIC_RULE = "traffic needs a challenger: set spec.challenger, or set spec.traffic to 0"
SHADOW_RULE = "shadow needs a challenger: set spec.challenger, or set spec.shadow to false"
ROLLOUT_RULE = "a rollout needs a challenger: set spec.challenger, or take spec.rollout out"
TWIN_RULE = "champion and challenger are the same version: take the challenger out, or name another"
NAME_RULE = "metadata.name must be spec.lifecycle with '-' for '_'"
RENAME_RULE = "a ServedModel keeps its lifecycle: create another one instead"
REPLICAS_RULE = "serving.maxReplicas is below serving.replicas: raise it, or leave it out"
MARGIN_RULE = "guard.maxErrorRate is below guard.errorMargin, which could never count then: raise it"


def object_name(lifecycle: str) -> str:
    """The Kubernetes name of a lifecycle's ServedModel (flight_delay -> flight-delay)."""
    return lifecycle.replace("_", "-")


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


class ModelVersion(_Model):
    """A registered model's version and the bundle that holds it."""

    version: VersionName
    """Version in the model registry."""
    bundle: Annotated[str, Field(min_length=1, max_length=1024)]
    """URI of the bundle's directory in the object store."""
    digest: Digest
    """sha256 of the bundle's manifest.json; a bundle with another digest is never served."""


Action = Literal["promotion", "rollback", "refusal", "taken_back"]
SEATED: Final = ("promotion", "rollback")
"""Actions that give the champion's seat."""


class Act(_Model):
    """What was done to the ServedModel, or refused: an entry of its history, and later of the ledger."""

    number: Annotated[int, Field(ge=1)]
    """1, 2, …; never used again."""
    action: Action
    version: VersionName
    """What was promoted, returned to, refused, or taken back by the guard."""
    bundle: Annotated[str, Field(min_length=1, max_length=1024)]
    digest: Digest
    replaced: VersionName | None = None
    """The champion until then, where another one has taken its seat."""
    run_id: Annotated[str, Field(max_length=250)] = ""
    """Run of the lifecycle; empty when it was done by hand."""
    at: datetime
    by: Annotated[str, Field(max_length=250)] = ""
    """Who or what did it, e.g. `stage/rollout`, `controller/guard` or a user's name."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    evidence: Annotated[str, Field(max_length=1024)] = ""
    """URI of the verdict, or what was seen in words."""


class Resources(_Model):
    """Resources of one serving pod; what is left out gets the controller's defaults."""

    requests: Quantities = Field(default_factory=dict)
    limits: Quantities = Field(default_factory=dict)


class ServingSettings(_Model):
    """How many pods serve, and how large they are."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.maxReplicas) || !has(self.replicas) || "
                    "self.maxReplicas >= self.replicas",
                    "message": REPLICAS_RULE,
                }
            ]
        }
    )

    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """How many; with maxReplicas the fewest."""
    max_replicas: Annotated[int, Field(ge=1, le=100)] | None = None
    """The most pods that an autoscaler may start; absent: `replicas`, always."""
    target_cpu: Annotated[int, Field(ge=1, le=100)] = 70
    """Percent of the requested CPU that the autoscaler aims at."""
    resources: Resources = Field(default_factory=Resources)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(REPLICAS_RULE)
        return self


class PredictionLogSettings(_Model):
    """What is kept of the predictions."""

    sample: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """The share that is logged, chosen by the prediction's id."""


class RolloutState(_Model):
    """How far the rollout of the challenger has come; the stage `rollout` writes it."""

    run_id: Annotated[str, Field(min_length=1, max_length=250)]
    phase: Literal["Shadow", "Canary", "Paused"]
    since: datetime
    """When this step began."""
    approved: bool = False
    """Ends a pause: set by `windtunnel promote`, or by kubectl."""
    approved_by: Annotated[str, Field(max_length=250)] = ""
    """Who did; empty when kubectl did not say."""


class GuardSettings(_Model):
    """When the controller takes a challenger's traffic and shadow away by itself.

    A crash, an answer that is no number, and repeated timeouts break the guard at once, whatever is set here.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.maxErrorRate) || !has(self.errorMargin) || "
                    "self.maxErrorRate >= self.errorMargin",
                    "message": MARGIN_RULE,
                }
            ]
        }
    )

    enabled: bool = True
    """False leaves the challenger alone, whatever it does; users still get the champion's answer for its
    faults."""
    error_margin: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    """The share of faults that the challenger may have beyond the champion's."""
    max_error_rate: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The share of faults that the challenger may have, whatever the champion has; absent: no such limit."""
    max_latency_ratio: Annotated[float, Field(ge=1.0, le=100.0)] = 2.0
    """How many times longer than the champion's slowest answers (1 in 100) the challenger's may take."""
    max_prediction_shift: Annotated[float, Field(ge=0.01, le=0.5)] = 0.2
    """How far the chance that a prediction of the challenger exceeds one of the champion's may lie from
    1/2; 0.5 allows anything."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Requests that the challenger must have answered before it is called healthy."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_error_rate is not None and self.max_error_rate < self.error_margin:
            raise ValueError(MARGIN_RULE)
        return self


class ServedModelSpec(_Model):
    """What shall serve."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.traffic) || self.traffic == 0 || has(self.challenger)",
                    "message": TRAFFIC_RULE,
                },
                {
                    "rule": "!has(self.shadow) || !self.shadow || has(self.challenger)",
                    "message": SHADOW_RULE,
                },
                {
                    "rule": "!has(self.challenger) || self.challenger.version != self.champion.version",
                    "message": TWIN_RULE,
                },
                {
                    "rule": "!has(self.rollout) || has(self.challenger)",
                    "message": ROLLOUT_RULE,
                },
            ]
        }
    )

    lifecycle: Annotated[
        LifecycleName,
        Field(
            json_schema_extra={
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": RENAME_RULE}]
            }
        ),
    ]
    champion: ModelVersion
    """Answers every request that the challenger does not."""
    challenger: ModelVersion | None = None
    """Stands beside the champion during a rollout."""
    traffic: Annotated[int, Field(ge=0, le=100)] = 0
    """Percent of requests, by their keys, that the challenger answers."""
    shadow: bool = False
    """Whether the challenger scores copies of the requests that the champion answers."""
    guard: GuardSettings = Field(default_factory=GuardSettings)
    previous: ModelVersion | None = None
    """The champion before this one: where a rollback goes."""
    history: Annotated[tuple[Act, ...], Field(max_length=64)] = ()
    """The last acts, the newest at the end; each is written together with what it tells of."""
    rollout: RolloutState | None = None
    keep_warm: Annotated[int, Field(ge=0, le=3)] = 1
    """Former champions that stay loaded, so that a rollback to them is instant."""
    prediction_log: PredictionLogSettings = Field(default_factory=PredictionLogSettings)
    serving: ServingSettings = Field(default_factory=ServingSettings)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.traffic and self.challenger is None:
            raise ValueError(TRAFFIC_RULE)
        if self.shadow and self.challenger is None:
            raise ValueError(SHADOW_RULE)
        if self.rollout is not None and self.challenger is None:
            raise ValueError(ROLLOUT_RULE)
        if self.challenger is not None and self.challenger.version == self.champion.version:
            raise ValueError(TWIN_RULE)
        return self


Phase = Literal["Pending", "Progressing", "Ready", "Degraded"]


class Condition(_Model):
    """One Kubernetes condition."""

    type: Annotated[str, Field(max_length=63)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=63)]
    message: Annotated[str, Field(max_length=2048)] = ""
    last_transition_time: datetime


ChallengerState = Literal["Loading", "Ready", "Quarantined", "Rejected"]


Conclusion = Literal["Unclear", "NotWorse", "Worse"]


class EvidenceTest(_Model):
    """One question to the evidence; what it says holds however often one looks."""

    name: Literal["faults", "limit", "latency", "higher", "lower"]
    """What is compared; `limit` is maxErrorRate, higher and lower are about the predictions."""
    conclusion: Conclusion = "Unclear"
    """NotWorse: shown to lie within what is allowed. Worse: shown to lie beyond it."""
    allowed: float
    """How much worse than the champion the challenger may be."""
    at_most: float | None = None
    """How much worse it is at most, as far as that is shown; absent: nothing is shown yet."""
    capital: Annotated[tuple[float, ...], Field(max_length=8)] = ()
    """What a restarted controller goes on from: logarithms of the tests' capital."""


class RolloutEvidence(_Model):
    """What the pods counted of the challenger and of the champion beside it; the rollout's steps are held
    by it."""

    run_id: Annotated[str, Field(max_length=250)] = ""
    """Of the rollout that it belongs to; empty for a challenger that somebody set by hand."""
    since: datetime
    """When the controller began to look."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Of the challenger, copies among them."""
    faults: Annotated[int, Field(ge=0)] = 0
    champion_requests: Annotated[int, Field(ge=0)] = 0
    champion_faults: Annotated[int, Field(ge=0)] = 0
    step_since: datetime | None = None
    """Which step `stepRequests` is about: its spec.rollout.since."""
    step_requests: Annotated[int, Field(ge=0)] = 0
    """Of the challenger, in this step."""
    tests: Annotated[tuple[EvidenceTest, ...], Field(max_length=8)] = ()
    """One for each of the comparisons that can be made."""

    def test(self, name: str) -> EvidenceTest | None:
        """The test of that name."""
        return next((test for test in self.tests if test.name == name), None)


class ChallengerStatus(_Model):
    """The challenger as the serving pods report it."""

    version: Annotated[str, Field(max_length=63)]
    state: ChallengerState
    """Ready: in every ready pod. Rejected: its bundle did not pass in some pod. Quarantined: it died again
    and again in some pod, which starts it no more."""
    message: Annotated[str, Field(max_length=1024)] = ""
    evidence: RolloutEvidence | None = None


class ServedModelStatus(_Model):
    """What serves, as the controller saw it last.

    Conditions: `Available`, `Degraded`, `Recorded` (whether the ledger has every act), while there is a
    challenger `ChallengerHealthy`, and with maxReplicas `Autoscaling` (whether the autoscaler sees and acts).
    """

    phase: Phase = "Pending"
    champion: Annotated[str, Field(max_length=63)] | None = None
    """The version that every ready pod serves; absent while they differ or none is ready."""
    ready: Annotated[str, Field(max_length=15)] = "0/1"
    """Ready pods that serve the champion, of those wanted."""
    challenger: ChallengerStatus | None = None
    warm: Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=3)] = ()
    """Former champions that every ready pod holds."""
    recorded: Annotated[int, Field(ge=0)] = 0
    """Number of the last act that stands in the ledger."""
    observed_generation: int | None = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default_factory=list)


class Metadata(_Model):
    """The part of a Kubernetes object's metadata that Windtunnel uses."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    """Token for compare-and-swap; opaque."""
    annotations: dict[str, str] | None = None


class ServedModel(_Model):
    """A ServedModel object. Raises pydantic.ValidationError when read from anything else."""

    api_version: Literal["windtunnel.dev/v1alpha1"] = "windtunnel.dev/v1alpha1"
    kind: Literal["ServedModel"] = "ServedModel"
    metadata: Metadata
    spec: ServedModelSpec
    status: ServedModelStatus | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metadata.name != object_name(self.spec.lifecycle):
            raise ValueError(NAME_RULE)
        return self

    def to_object(self) -> dict[str, Any]:
        """JSON-ready dict as the API server takes it (camelCase, nothing that is unset)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
