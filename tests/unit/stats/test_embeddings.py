"""Embeddings: what moves along their main directions, or off them, is seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.stats.embeddings import EmbeddingProfile, compare_embeddings, embedding_profile

MIXING = np.random.default_rng(0).normal(size=(6, 40))


def vectors(rows: int, seed: int) -> np.ndarray:
    """Six hidden causes in forty numbers, with a little noise."""
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, 6)) @ MIXING + 0.3 * random.normal(size=(rows, 40))


@pytest.fixture(scope="module")
def reference() -> EmbeddingProfile:
    return EmbeddingProfile.from_json(json.loads(json.dumps(embedding_profile(vectors(5_000, 1)).to_json())))


def test_vectors_alike_have_not_drifted(reference: EmbeddingProfile) -> None:
    found = compare_embeddings(reference, vectors(1_000, 2))
    assert (found.kind, found.drifted, found.rows) == ("embedding", False, 1_000)


def test_a_cause_that_moves_is_seen(reference: EmbeddingProfile) -> None:
    found = compare_embeddings(reference, vectors(1_000, 3) + 0.5 * MIXING[2])
    assert found.drifted
    assert "main direction" in found.reasons[0]


def test_something_new_off_the_main_directions_is_seen(reference: EmbeddingProfile) -> None:
    window = vectors(1_000, 4)
    window[:150, 7] += 3.0
    assert compare_embeddings(reference, window).drifted


def test_vectors_of_another_length_are_refused(reference: EmbeddingProfile) -> None:
    with pytest.raises(DataError, match="vectors of 39 numbers, those of the reference have 40"):
        compare_embeddings(reference, vectors(200, 5)[:, 1:], column="note")
