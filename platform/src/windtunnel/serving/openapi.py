"""The OpenAPI 3.1 document of what `app` answers, precise for the model that is loaded.

A request that its schemas refuse is refused. Some that they allow are refused as well, because JSON Schema
cannot say it: that shape and data agree, that each name comes once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from windtunnel import __version__
from windtunnel.serving import protocol
from windtunnel.serving.inputs import MATRIX
from windtunnel.serving.tensors import DTYPES, RANGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.serving.model import VersionInterface

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_ROWS: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": protocol.MAX_ROWS}
_COLUMN: Final[Sequence[Schema]] = (_ROWS, {"const": 1})
"""Shape of one value a row; the second dimension may be left out."""
_SHORT: Final[Schema] = {"type": "string", "maxLength": protocol.MAX_TEXT}
_FP32_MAX: Final = 3.4028234663852886e38

_ERRORS: Final = {
    400: "The request is wrong; the error says what, where, and how to mend it.",
    404: "There is no such model or version here.",
    408: "The body did not come in time.",
    413: f"The body is larger than {protocol.MAX_BODY >> 20} MiB.",
    415: "The body is compressed.",
    500: "The model failed on a valid request.",
    503: "No version is loaded yet, or the online store does not answer; try again.",
}


def document(lifecycle: str | None, version: VersionInterface | None) -> dict[str, Any]:
    """The document while `version` of `lifecycle` answers; either may not be known yet."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Windtunnel: {lifecycle or 'a served model'}",
            "version": __version__,
            "description": "The Open Inference Protocol v2 with its binary-data extension.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(lifecycle, version),
        "components": {"schemas": {**_ANSWERS, **_request_schemas(version)}},
    }


def _paths(lifecycle: str | None, version: VersionInterface | None) -> dict[str, Any]:
    model = _parameter("model", [lifecycle] if lifecycle else None)
    one = _parameter("version", [version.version] if version else None)
    paths = {
        "/v2": _get("server", "The server and its extensions.", "ServerMetadata"),
        "/v2/openapi.json": _get("openapi", "This document.", None),
        "/v2/health/live": _get("live", "Whether the process is well.", "Live"),
        "/v2/health/ready": _get("ready", "Whether there is a model, and no shutdown.", "Ready"),
        "/metrics": _get("metrics", "Prometheus metrics.", "Metrics", media="text/plain"),
    }
    paths["/v2/health/ready"]["get"]["responses"]["503"] = _answer("It is not.", "NotReady")
    for path, suffix, parameters in (
        ("/v2/models/{model}", "", [model]),
        ("/v2/models/{model}/versions/{version}", "_version", [model, one]),
    ):
        paths[path] = _get("model" + suffix, "Versions, inputs, outputs.", "ModelMetadata", 404, 503)
        paths[f"{path}/ready"] = _get("model_ready" + suffix, "Whether it answers.", "ModelReady", 404, 503)
        paths[f"{path}/infer"] = {"post": _infer("infer" + suffix, version)}
        for item in (path, f"{path}/ready", f"{path}/infer"):
            paths[item]["parameters"] = parameters
    return paths


def _parameter(name: str, known: list[str] | None) -> dict[str, Any]:
    schema = {"type": "string", "enum": known} if known else {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _get(
    name: str, summary: str, schema: str | None, *errors: int, media: str = "application/json"
) -> dict[str, Any]:
    responses = {"200": _answer(summary, schema, media), **_refusals(*errors)}
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}


def _answer(description: str, schema: str | None, media: str = "application/json") -> dict[str, Any]:
    content = _of(schema) if schema else {"type": "object"}
    return {"description": description, "content": {media: {"schema": content}}}


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): _answer(_ERRORS[status], "Error") for status in statuses}


def _infer(name: str, version: VersionInterface | None) -> dict[str, Any]:
    length = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Bytes of JSON in a body that has raw tensors behind it.",
        "schema": {"type": "integer", "minimum": 0, "maximum": protocol.MAX_BODY},
    }
    answer = _answer("The predictions.", "InferResponse")
    answer["content"]["application/octet-stream"] = {
        "schema": {"type": "string", "contentMediaType": "application/octet-stream"}
    }
    answer["headers"] = {
        length["name"]: {"description": "In an answer with raw tensors.", "schema": length["schema"]}
    }
    return {
        "operationId": name,
        "summary": "Ask for predictions.",
        "parameters": [length],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _of("InferRequest"),
                    "examples": _examples(version) if version else {},
                },
                "application/octet-stream": {
                    "schema": {"type": "string", "contentMediaType": "application/octet-stream"}
                },
            },
        },
        "responses": {"200": answer, **_refusals(*_ERRORS)},
    }


def _of(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    limits = {"minItems": least} if least else {}
    return {"type": "array", "items": items, **limits, **({"maxItems": most} if most is not None else {})}


_TENSOR: Final = _object(
    {"name": _TEXT, "datatype": {"enum": [*DTYPES, "BYTES"]}, "shape": _list({"type": "integer"}, 1, 2)},
    {"parameters": {"type": "object"}},
)
_FAILURE: Final = _object({"version": _TEXT, "reason": _TEXT, "message": _TEXT})
_ANSWERS: Final[dict[str, Schema]] = {
    "Error": {**_object({"error": _TEXT}), "additionalProperties": False},
    "Metrics": _TEXT,
    "ServerMetadata": _object(
        {
            "name": {"const": "windtunnel"},
            "version": _TEXT,
            "extensions": _list({"enum": [*protocol.EXTENSIONS]}),
        }
    ),
    "Live": _object({"live": {"const": True}}),
    "Ready": _object({"ready": {"const": True}}),
    "NotReady": _object({"ready": {"const": False}, "reason": _TEXT}),
    "ModelReady": _object({"name": _TEXT, "ready": {"const": True}}, {"version": _TEXT}),
    "ModelMetadata": _object(
        {
            "name": _TEXT,
            "versions": _list(_TEXT, 0, 1),
            "platform": {"enum": ["", "onnx", "skops"]},
            "inputs": _list(_TENSOR),
            "outputs": _list(_TENSOR, 0, 1),
            "parameters": _object(
                {
                    "champion": _maybe(_TEXT),
                    "digest": _maybe(_TEXT),
                    "generation": _maybe({"type": "integer"}),
                    "failure": _maybe(_FAILURE),
                    "challenger": _maybe({"type": "object"}),
                }
            ),
        }
    ),
    "InferResponse": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "parameters": _object(
                {
                    "prediction_id": {"type": "string", "format": "uuid"},
                    "role": {"enum": ["champion", "challenger"]},
                    "missing_features": _COUNT,
                },
                {"fallback": {"const": True}, "stale_features": _COUNT},
            ),
            "outputs": _list(
                _object(
                    {
                        "name": {"enum": ["probability", "value"]},
                        "datatype": {"const": "FP64"},
                        "shape": _list(_ROWS, 1, 1),
                        "data": _list({"type": "number"}, 1, protocol.MAX_ROWS),
                    }
                ),
                1,
                1,
            ),
        },
        {"id": _SHORT},
    ),
}


def _request_schemas(version: VersionInterface | None) -> dict[str, Schema]:
    output = {"enum": [version.output]} if version else _TEXT
    return {
        "InferRequest": _object(
            {"inputs": _inputs(version) if version else _list({"type": "object"}, 1)},
            {
                "id": _maybe(_SHORT),
                "parameters": _maybe(_of("RequestParameters")),
                "outputs": _maybe(_list(_of("Output"), 0, 1)),
            },
        ),
        "RequestParameters": _object(
            {},
            {
                "event_timestamp": _maybe({"type": "string", "format": "date-time"}),
                "key": {"anyOf": [_SHORT, {"type": "integer"}, {"type": "null"}]},
                "binary_data_output": _maybe({"type": "boolean"}),
                "nan_is_missing": _maybe({"type": "boolean"}),
            },
        ),
        "Output": _object(
            {"name": output},
            {
                "parameters": _maybe(
                    _object(
                        {},
                        {
                            "binary_data": _maybe({"type": "boolean"}),
                            "classification": False,
                            "shared_memory_region": False,
                        },
                    )
                )
            },
        ),
    }


def _inputs(version: VersionInterface) -> Schema:
    """The three forms of a request."""
    plan = version.plan
    forms = [
        _list(_numbers([MATRIX], [_ROWS, {"const": len(plan.features)}], 2, version), 1, 1),
        _exactly(len(plan.features), _column(plan.features, version)),
    ]
    if plan.join_keys:
        keys = [_key(name, kind) for name, kind in plan.join_keys.items()]
        wanted = [*keys, _column(plan.asked, version)] if plan.asked else keys
        forms.append(_exactly(len(keys) + len(plan.asked), {"anyOf": wanted}))
    return {"anyOf": forms}


def _exactly(count: int, items: Schema) -> Schema:
    return _list(items, count, count)


def _column(names: Sequence[str], version: VersionInterface) -> Schema:
    return _numbers(names, _COLUMN, 1, version)


def _numbers(
    names: Sequence[str], shape: Sequence[Schema], dimensions: int, version: VersionInterface
) -> Schema:
    """A tensor of a feature, or of all of them."""
    finite = {"minimum": -_FP32_MAX, "maximum": _FP32_MAX}
    kinds: dict[str, Schema] = {
        "FP64": {"type": "number", **(finite if version.single_precision else {})},
        "FP32": {"type": "number", **finite},
        "BOOL": {"type": "boolean"},
        **{kind: _integer(kind) for kind in RANGES},
    }
    tensors = [_tensor(names, kind, shape, dimensions, _maybe(value)) for kind, value in kinds.items()]
    return {"oneOf": tensors}


def _key(name: str, kind: str) -> Schema:
    """A tensor of a join key."""
    if kind == "STRING":
        return _tensor([name], "BYTES", _COLUMN, 1, _SHORT)
    return {"oneOf": [_tensor([name], sent, _COLUMN, 1, _integer(sent, kind)) for sent in RANGES]}


def _integer(*kinds: str) -> Schema:
    """A whole number in the range of all of these."""
    lows, highs = zip(*(RANGES[kind] for kind in kinds), strict=True)
    return {"type": "integer", "minimum": max(lows), "maximum": min(highs)}


def _tensor(
    names: Sequence[str], datatype: str, shape: Sequence[Schema], dimensions: int, value: Schema
) -> Schema:
    """A tensor with its data in JSON."""
    flat, nested = _list(value, 1), _list(_list(value, 1), 1, protocol.MAX_ROWS)
    elsewhere = {"binary_data_size": {"type": "null"}, "shared_memory_region": False}
    return _object(
        {
            "name": {"enum": list(names)},
            "datatype": {"const": datatype},
            "shape": {"type": "array", "prefixItems": list(shape), "items": False, "minItems": dimensions},
            "data": {"anyOf": [flat, nested]},
        },
        {"parameters": _maybe(_object({}, elsewhere))},
    )


def _examples(version: VersionInterface) -> dict[str, Any]:
    """Requests that are answered; by entity, where the online store answers."""
    features = version.plan.features
    zeros = [0.0] * len(features)
    matrix = {"name": MATRIX, "datatype": "FP64", "shape": [1, len(features)], "data": zeros}
    columns = [{"name": name, "datatype": "FP64", "shape": [1], "data": [0.0]} for name in features]
    return {
        "matrix": {"summary": "All features in one tensor.", "value": {"inputs": [matrix]}},
        "columns": {"summary": "A tensor for each feature.", "value": {"inputs": columns}},
    }
