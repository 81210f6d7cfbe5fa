"""The split of the keys: the share is right, a key stays on its side, and more traffic moves keys one way."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.serving.inputs import Batch
from windtunnel.serving.protocol import InferRequest, Parameters
from windtunnel.serving.routing import Split, request_key

KEYS = [f"key-{number}" for number in range(20_000)]


def taken(version: str, percent: int, lifecycle: str = "demo") -> set[str]:
    split = Split(lifecycle, version, percent)
    return {key for key in KEYS if split.takes(key)}


@pytest.mark.parametrize("percent", [0, 1, 5, 10, 25, 50, 75, 99, 100])
def test_the_share_is_right(percent: int) -> None:
    share = percent / 100
    # five standard deviations
    margin = 5 * math.sqrt(share * (1 - share) / len(KEYS))
    assert abs(len(taken("2", percent)) / len(KEYS) - share) <= margin


def test_more_traffic_moves_keys_one_way() -> None:
    sides = [taken("2", percent) for percent in range(101)]
    assert all(less <= more for less, more in pairwise(sides))
    assert (sides[0], sides[100]) == (set(), set(KEYS))


def test_another_challenger_or_lifecycle_draws_other_keys() -> None:
    first = taken("2", 50)
    for other in (taken("3", 50), taken("2", 50, "other"), taken("22", 50)):
        both = len(first & other) / len(KEYS)
        assert both == pytest.approx(0.25, abs=0.02)


@given(st.text(), st.integers(0, 100))
def test_every_text_is_a_key(key: str, percent: int) -> None:
    assert Split("demo", "2", percent).takes(key) is Split("demo", "2", percent).takes(key)


def test_half_a_surrogate_pair_is_a_key_too() -> None:
    assert Split("demo", "2", 100).takes("\ud800")


def test_it_is_equal_in_every_process() -> None:
    code = (
        "from windtunnel.serving.routing import Split; s = Split('demo', '2', 50);"
        "print(sum(s.takes(f'key-{n}') << n for n in range(64)))"
    )
    sides = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    split = Split("demo", "2", 50)
    assert sides == {f"{sum(split.takes(f'key-{n}') << n for n in range(64))}\n"}
    # and after every upgrade: a canary must not change sides because pods are replaced
    assert sum(split.takes(f"key-{n}") << n for n in range(64)) == 10918442091415702291


def test_the_key_is_the_callers_then_the_entitys_then_none() -> None:
    matrix = np.zeros((2, 1))
    by_entity = Batch(matrix, {"carrier": ["UA", "AA"], "route": [7, 8]})
    plain = InferRequest(inputs=[])
    keyed = InferRequest(inputs=[], parameters=Parameters(key="mine"))
    assert request_key(keyed, by_entity, "id") == "mine"
    assert request_key(plain, by_entity, "id") == "UA\x007"
    assert request_key(plain, Batch(matrix), "id") == "id"
    assert request_key(InferRequest(inputs=[], parameters=Parameters(key=7)), Batch(matrix), "id") == "7"
    assert request_key(InferRequest(inputs=[], parameters=Parameters(key="")), by_entity, "id") == ""
