"""ServedModel → the objects that serve it. Pure: no clock, no cluster.

Nothing in the pod template depends on which version serves: a promotion changes no object here, the pods see
it in the ServedModel themselves and swap without a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from windtunnel.spec.servedmodel import API_VERSION, KIND

if TYPE_CHECKING:
    from windtunnel.controller.config import ControllerConfig
    from windtunnel.spec.servedmodel import Resources, ServedModel

Object = dict[str, Any]

PORT: Final = 8080
MODEL_LABEL: Final = "windtunnel.dev/served-model"
CLIENT_LABEL: Final = "windtunnel.dev/serving-client"
"""On pods of other namespaces that may ask."""

_USER: Final = 10001
_REQUESTS: Final = {"cpu": "100m", "memory": "192Mi"}
_MEMORY_LIMIT: Final = "512Mi"
# At its end a pod first sleeps until the last load balancer has heard that it goes, then answers on while it
# asks its callers to reconnect elsewhere, then finishes what is in flight (20 s at most).
_PRE_STOP_SECONDS: Final = 5
_DRAIN_SECONDS: Final = 2
_GRACE_SECONDS: Final = 40
# More pods at once when they are needed, up to twice as many; fewer only when five minutes have needed no
# more, and then by a quarter a minute: a quiet moment between two crowds must not cost the second its pods.
_SCALE_UP: Final = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_SCALE_DOWN: Final = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 1, "periodSeconds": 60},
        {"type": "Percent", "value": 25, "periodSeconds": 60},
    ],
}


def desired(model: ServedModel, config: ControllerConfig) -> list[Object]:
    """The objects to apply, each owned by the ServedModel."""
    return [
        *_network_policies(model, config),
        _service(model, config),
        _disruption_budget(model, config),
        _deployment(model, config),
        *_autoscalers(model, config),
    ]


def is_scaled(model: ServedModel) -> bool:
    """Whether an autoscaler decides how many pods serve."""
    return model.spec.serving.max_replicas is not None


def selector(name: str) -> dict[str, str]:
    """Labels that select a ServedModel's pods."""
    return {MODEL_LABEL: name}


def _labels(model: ServedModel, config: ControllerConfig) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "windtunnel",
        "app.kubernetes.io/instance": config.name_prefix,
        "app.kubernetes.io/component": "serving",
        "app.kubernetes.io/part-of": "windtunnel",
        "app.kubernetes.io/managed-by": "windtunnel-controller",
        "windtunnel.dev/lifecycle": model.spec.lifecycle,
        **selector(model.metadata.name),
    }


def _object(
    kind: str, api_version: str, model: ServedModel, config: ControllerConfig, spec: Object
) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": model.metadata.name,
            "namespace": config.namespace,
            "labels": _labels(model, config),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": model.metadata.name,
                    "uid": model.metadata.uid,
                    "controller": True,
                    # True would need the right to set finalizers on ServedModels
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": spec,
    }


def _service(model: ServedModel, config: ControllerConfig) -> Object:
    spec = {
        "selector": selector(model.metadata.name),
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }
    return _object("Service", "v1", model, config, spec)


def _disruption_budget(model: ServedModel, config: ControllerConfig) -> Object:
    # one at a time, and a single replica doesn't hold up the draining of its node
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(model.metadata.name)}}
    return _object("PodDisruptionBudget", "policy/v1", model, config, spec)


def _autoscalers(model: ServedModel, config: ControllerConfig) -> list[Object]:
    if not is_scaled(model):
        return []
    serving = model.spec.serving
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": model.metadata.name},
        "minReplicas": serving.replicas,
        "maxReplicas": serving.max_replicas,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": serving.target_cpu},
                },
            }
        ],
        "behavior": {"scaleUp": _SCALE_UP, "scaleDown": _SCALE_DOWN},
    }
    return [_object("HorizontalPodAutoscaler", "autoscaling/v2", model, config, spec)]


def _network_policies(model: ServedModel, config: ControllerConfig) -> list[Object]:
    if config.egress is None:
        return []
    callers = [
        {"podSelector": {}},
        {"namespaceSelector": {}, "podSelector": {"matchLabels": {CLIENT_LABEL: "true"}}},
    ]
    spec = {
        "podSelector": {"matchLabels": selector(model.metadata.name)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": callers, "ports": [{"protocol": "TCP", "port": PORT}]}],
        "egress": list(config.egress),
    }
    return [_object("NetworkPolicy", "networking.k8s.io/v1", model, config, spec)]


def _deployment(model: ServedModel, config: ControllerConfig) -> Object:
    name = model.metadata.name
    annotations = {
        **config.annotations,
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
        "windtunnel.dev/checksum": config.checksum,
    }
    # under an autoscaler the number is its own: see Cluster.apply
    replicas = {} if is_scaled(model) else {"replicas": model.spec.serving.replicas}
    spec = {
        **replicas,
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": 300,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": selector(name)},
        "template": {
            "metadata": {"labels": _labels(model, config), "annotations": annotations},
            "spec": _pod(model, config),
        },
    }
    return _object("Deployment", "apps/v1", model, config, spec)


def _pod(model: ServedModel, config: ControllerConfig) -> Object:
    name = model.metadata.name
    return {
        **config.pod,
        "serviceAccountName": config.service_account,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(name)},
            }
            for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ],
        "containers": [_container(model, config)],
    }


def _container(model: ServedModel, config: ControllerConfig) -> Object:
    sources = [{"configMapRef": {"name": config.configmap}}] if config.configmap else []
    return {
        "name": "serving",
        "image": config.serving_image,
        "imagePullPolicy": config.pull_policy,
        "command": [
            "python", "-m", "windtunnel.serving",
            "--name", model.metadata.name,
            "--namespace", config.namespace,
            "--port", str(PORT),
            "--drain-seconds", str(_DRAIN_SECONDS),
        ],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "envFrom": [*sources, *({"secretRef": {"name": secret}} for secret in config.secrets)],
        # the root is read-only, and a volume would cost a quarter of a second at each start
        "env": [{"name": "HOME", "value": "/dev/shm"}, {"name": "TMPDIR", "value": "/dev/shm"}],
        "resources": _resources(model.spec.serving.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": _probe("ready", periodSeconds=1, timeoutSeconds=2, failureThreshold=3),
        "livenessProbe": _probe(
            "live", initialDelaySeconds=20, periodSeconds=10, timeoutSeconds=5, failureThreshold=6
        ),
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
    }  # fmt: skip


def _probe(health: str, **timing: int) -> Object:
    return {"httpGet": {"path": f"/v2/health/{health}", "port": "http", "scheme": "HTTP"}, **timing}


def _resources(asked: Resources) -> Object:
    """What was asked, with defaults; memory that is asked for without a limit is its own limit."""
    requests = _REQUESTS | {str(name): value for name, value in asked.requests.items()}
    limits = {"memory": asked.requests.get("memory", _MEMORY_LIMIT)}
    return {
        "requests": requests,
        "limits": limits | {str(name): value for name, value in asked.limits.items()},
    }
