from __future__ import annotations

import json

import pytest

from windtunnel.spec.stages import STAGES, Reference, Stage, StageRequest, StageResult


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_every_input_is_an_output_of_an_earlier_stage(stage: Stage) -> None:
    names = list(STAGES)
    for name, source in stage.inputs.items():
        assert name in STAGES[source].outputs
        assert names.index(source) < names.index(stage.name)
    for before in stage.after:
        assert names.index(before) < names.index(stage.name)


def test_requests_and_results_survive_json() -> None:
    reference = Reference("snapshot", "s3://b/x", "sha256:0", rows=3, bytes=5, meta={"days": 28})
    request = StageRequest("demo", "train", "run", 2, {"force": True}, {"snapshot": reference})
    result = StageResult({"model": reference}, {"auc": 0.7}, cached=True)
    assert StageRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
    assert StageResult.from_json(json.loads(json.dumps(result.to_json()))) == result
