"""What a bundle's manifest says of its features: order, origin, and place in the online store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.features.definitions import load_definitions

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.features.definitions import Definitions, View
    from windtunnel.spec.lifecycle import Lifecycle


def describe_online(directory: Path, lifecycle: Lifecycle) -> dict[str, Any]:
    """`{"features": […], "online": {…}}` as manifest.json holds them; raises SpecError."""
    definitions = load_definitions(directory, lifecycle)
    return {
        "features": model_features(definitions, lifecycle),
        "online": {
            "project": lifecycle.name,
            "views": [
                _online_view(definitions, name) for name in dict.fromkeys(v for v, _ in definitions.served)
            ],
        },
    }


def model_features(definitions: Definitions, lifecycle: Lifecycle) -> list[dict[str, str]]:
    """In the model's order: those of the feature service, then those that come with the request."""
    stored = [{"name": feature, "source": f"{view}:{feature}"} for view, feature in definitions.served]
    return stored + [{"name": name, "source": "request"} for name in lifecycle.spec.features.request]


def _online_view(definitions: Definitions, name: str) -> dict[str, Any]:
    view = definitions.views[name]
    served = [feature for of, feature in definitions.served if of == name]
    return {
        "name": name,
        "join_keys": [{"name": key, "type": kind} for key, kind in view.join_keys.items()],
        "ttl_seconds": view.ttl.total_seconds() if view.ttl else 0,
        "features": [_online_feature(definitions, view, feature) for feature in served],
    }


def _online_feature(definitions: Definitions, view: View, feature: str) -> dict[str, Any]:
    described: dict[str, Any] = {"name": feature, "type": view.features[feature]}
    if (view.name, feature) in definitions.defaults:
        described["default"] = definitions.defaults[view.name, feature]
    return described
