"""The CustomResourceDefinition of ServedModel, which follows from its types: `python -m
windtunnel.spec.servedmodel_crd` prints it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from windtunnel.spec.servedmodel import (
    GROUP,
    KIND,
    NAME_RULE,
    PLURAL,
    VERSION,
    ServedModelSpec,
    ServedModelStatus,
)

if TYPE_CHECKING:
    from pydantic import BaseModel


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition, as a dict ready for YAML."""
    schema = {
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [
            {"rule": "self.metadata.name == self.spec.lifecycle.replace('_', '-')", "message": NAME_RULE}
        ],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(ServedModelSpec),
            "status": _structural(ServedModelStatus),
        },
    }
    columns = [
        ("Model", "string", ".spec.lifecycle"),
        ("Champion", "string", ".spec.champion.version"),
        ("Challenger", "string", ".spec.challenger.version"),
        ("Traffic", "integer", ".spec.traffic"),
        ("Guard", "string", '.status.conditions[?(@.type=="ChallengerHealthy")].reason'),
        ("Phase", "string", ".status.phase"),
        ("Ready", "string", ".status.ready"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ]
    wide = [
        ("Rollout", "string", ".spec.rollout.phase"),
        ("Warm", "string", ".status.warm"),
        ("Scaling", "string", '.status.conditions[?(@.type=="Autoscaling")].reason'),
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "servedmodel",
                "shortNames": ["sm"],
                "categories": ["windtunnel"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, **priority}
                        for which, priority in ((columns, {}), (wide, {"priority": 1}))
                        for name, kind, path in which
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _structural(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema as Kubernetes wants it: no references, no null alternatives, no titles."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    definitions: dict[str, Any] = schema.pop("$defs", {})
    result: dict[str, Any] = _inline(schema, definitions)
    return result


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        return _inline(target | {key: value for key, value in node.items() if key != "$ref"}, definitions)
    if "anyOf" in node:
        (kept,) = (option for option in node["anyOf"] if option != {"type": "null"})
        rest = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
        return _inline({**kept, **rest}, definitions)
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _inline(item, definitions) for name, item in value.items()}
        elif key == "const":
            result["enum"] = [value]
        elif key not in ("title", "propertyNames"):  # neither belongs in a structural schema
            result[key] = value if key == "default" else _inline(value, definitions)
    return result


def main() -> None:
    """Print the CustomResourceDefinition as YAML."""
    import yaml  # only the generator needs it

    yaml.safe_dump(crd(), sys.stdout, sort_keys=False, width=110)


if __name__ == "__main__":
    main()
