"""Print values.schema.json, derived from the annotated values.yaml of the chart beside this file.

A key's description is the comment block above it; a line `# @schema {...}` in that block is merged into what the
default value says. Every mapping is closed unless its `@schema` gives a `$ref`. A key without a description is an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

VALUES = Path(__file__).parent / "windtunnel/values.yaml"
MARK = "@schema "
TYPES = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "seq": "array"}


def closed(description: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """A mapping that refuses unknown keys."""
    found: dict[str, Any] = {"description": description, "type": "object", "additionalProperties": False}
    found["properties"] = properties
    if required:
        found["required"] = list(required)
    return found


def text(description: str, **more: Any) -> dict[str, Any]:
    """A string."""
    return {"description": description, "type": "string", **more}


QUANTITY = {"type": ["string", "number"], "pattern": r"^[0-9.]+(m|[kMGTP]i?)?$"}
AMOUNTS = {"type": "object", "propertyNames": {"pattern": "^[a-z0-9./-]+$"}, "additionalProperties": QUANTITY}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECT = {"type": "object"}
# Moving tags would change what runs without a change of the release.
TAG = {"not": {"enum": ["latest", "main", "master", "edge"]}}
RESOURCES = closed(
    "Requests and limits of a container.",
    {
        "requests": {"description": "What the scheduler reserves, by resource.", **AMOUNTS},
        "limits": {"description": "What the container may not exceed, by resource.", **AMOUNTS},
    },
    "requests",
    "limits",
)

DEFINITIONS: dict[str, Any] = {
    "cidrs": {
        "description": "CIDRs; empty is anywhere.",
        "type": "array",
        "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
    },
    "database": closed(
        "A database and its owner.",
        {
            "database": text("Name of the database.", minLength=1),
            "username": text("Role that owns it.", minLength=1),
        },
    ),
    "environment": {
        "description": "Environment variables, by name.",
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {"type": "string"},
    },
    "kubernetesObject": {"description": "Part of a Kubernetes object, passed on as it is.", **OBJECT},
    "ownImage": closed(
        "One of Windtunnel's own images.",
        {
            "repository": text("Path below images.registry.", minLength=1),
            "tag": text("Tag of this image alone; empty means images.tag.", **TAG),
        },
    ),
    "persistence": closed(
        "A volume claim.",
        {
            "size": text("Size; it can grow later where the StorageClass allows.", pattern="^[0-9]+[MGT]i$"),
            "storageClass": text("Name of a StorageClass; empty is the cluster's default."),
        },
    ),
    "port": {"description": "A TCP port.", "type": "integer", "minimum": 1, "maximum": 65535},
    "ports": {
        "description": "Ports.",
        "type": "array",
        "minItems": 1,
        "items": {"type": "integer", "minimum": 1, "maximum": 65535},
    },
    "resources": RESOURCES,
    "stageClass": closed(
        "What the pods of a stage class are like.",
        {
            "image": text("Another stage image, with its tag, for this class; empty is images.stage.", **TAG),
            "resources": RESOURCES,
            "slots": {
                "description": "How many of its pods may run at once. Absent: airflow.parallelism; for `rollout` half of it, "
                "because a rollout waits for hours. One run takes at most half of them.",
                "type": "integer",
                "minimum": 1,
            },
            "pricePerHour": {
                "description": "What an hour of one of its pods costs, in a currency of yours: stage records, metrics "
                "and reports then tell what a lifecycle costs. Absent: they tell seconds only.",
                "type": "number",
                "minimum": 0,
            },
            "scratch": text(
                "Size of a temporary disk at /scratch (TMPDIR); empty keeps temporary files in /dev/shm, which "
                "starts 0.25 s faster but holds 64 MiB.",
                pattern="^([0-9]+[MGT]i)?$",
            ),
            "env": {"description": "More environment of this class. Never a secret.", **STRINGS},
            "annotations": {"description": "Extra annotations of its pods.", **STRINGS},
            "nodeSelector": {"description": "Nodes that its pods may run on.", **STRINGS},
            "tolerations": {
                "description": "Taints that its pods tolerate.",
                "type": "array",
                "items": OBJECT,
            },
            "affinity": {"description": "Affinity, as in a pod.", **OBJECT},
            "serviceAccountName": text(
                "A ServiceAccount of yours in the namespace of stage pods, whose token its pods get: a Spark driver "
                "needs one. Empty is the platform's, which may do nothing."
            ),
            "priorityClassName": text("Name of a PriorityClass."),
            "runtimeClassName": text("Name of a RuntimeClass."),
        },
        "resources",
    ),
    "stringMap": {"description": "Strings by name.", **STRINGS},
    "upstreamImage": closed(
        "An image of an embedded store.",
        {
            "repository": text("Full name, with a registry if need be.", minLength=1),
            "tag": text("Pinned tag.", minLength=1, **TAG),
        },
    ),
}


def schema(source: str) -> dict[str, Any]:
    """The schema of the values file `source`."""
    root = yaml.compose(source)
    assert isinstance(root, yaml.MappingNode)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart windtunnel",
        **_mapping(root, source.splitlines()),
        "$defs": DEFINITIONS,
    }


def _mapping(node: yaml.MappingNode, lines: list[str]) -> dict[str, Any]:
    properties = {key.value: _property(key, value, lines) for key, value in node.value}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(key: yaml.Node, value: yaml.Node, lines: list[str]) -> dict[str, Any]:
    description, extra = _comment(key.start_mark.line, lines)
    if not description:
        raise SystemExit(
            f"values.yaml:{key.start_mark.line + 1}: {key.value} has no description; write one above it"
        )
    if "$ref" in extra:
        # Draft 7 ignores what stands beside a $ref.
        return {"description": description, "allOf": [extra]}
    kind = value.tag.rpartition(":")[2]
    if kind == "map":
        assert isinstance(value, yaml.MappingNode)
        return {"description": description, **_mapping(value, lines), **extra}
    return {"description": description, "type": TYPES[kind], **extra}


def _comment(line: int, lines: list[str]) -> tuple[str, dict[str, Any]]:
    """Description and `@schema` of the block that ends above `line`."""
    words: list[str] = []
    extra: dict[str, Any] = {}
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        content = lines[line].lstrip().removeprefix("#").strip()
        if content.startswith(MARK):
            extra = json.loads(content.removeprefix(MARK))
        else:
            words.insert(0, content)
    return " ".join(words), extra


if __name__ == "__main__":
    json.dump(schema(VALUES.read_text()), sys.stdout, indent=2)
    print()
