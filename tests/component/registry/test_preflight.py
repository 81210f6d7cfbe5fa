"""Preflight: what a bundle must pass before a serving pod is asked to take it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from misbehaving import make_misbehaving
from served_bundle import LIFECYCLE, make_version

from windtunnel.errors import IntegrityError, NotFoundError, PermanentError
from windtunnel.objects import ObjectStore, open_store
from windtunnel.registry.preflight import Flight, compare, fly, quantity

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.spec.servedmodel import ModelVersion


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path), {})


def flown(store: ObjectStore, version: ModelVersion, limit: str = "512Mi") -> Flight:
    return fly(LIFECYCLE, version, store.url, limit, os.environ)


def test_a_sound_bundle_is_measured(store: ObjectStore) -> None:
    flight = flown(store, make_version(store, "1", 1.0))
    assert flight.requests == 2
    assert flight.seconds is not None
    assert 0.0 < flight.seconds < 10.0
    assert 10 * 2**20 < flight.memory < 512 * 2**20
    assert "2 golden requests answered as trained" in str(flight)


def test_what_the_caller_holds_is_not_counted(store: ObjectStore) -> None:
    held = b"x" * (400 * 2**20)
    flight = flown(store, make_version(store, "1", 1.0))
    assert flight.memory < len(held)


def test_other_answers_than_the_trained_model_gave_are_refused(store: ObjectStore) -> None:
    with pytest.raises(IntegrityError, match="golden requests are answered differently"):
        flown(store, make_version(store, "1", 1.0, golden=[0.1, 0.9]))


def test_another_digest_is_refused(store: ObjectStore) -> None:
    version = make_version(store, "1", 1.0).model_copy(update={"digest": f"sha256:{0:064d}"})
    with pytest.raises(IntegrityError, match="digest"):
        flown(store, version)


def test_a_bundle_that_is_not_there_is_told(store: ObjectStore) -> None:
    version = make_version(store, "1", 1.0)
    with pytest.raises(NotFoundError):
        flown(store, version.model_copy(update={"bundle": f"{version.bundle}0"}))


def test_a_bundle_of_another_lifecycle_is_refused(store: ObjectStore) -> None:
    with pytest.raises(IntegrityError, match="lifecycle"):
        flown(store, make_version(store, "1", 1.0, lifecycle="other"))


def test_too_little_memory_is_refused_and_says_what_to_raise(store: ObjectStore) -> None:
    with pytest.raises(PermanentError, match=r"does not load within 20 MiB.*serving\.resources"):
        flown(store, make_version(store, "1", 1.0), limit="40Mi")


def test_what_only_some_requests_show_is_left_to_the_guard(store: ObjectStore) -> None:
    flight = flown(store, make_misbehaving(store, "2", "raises"))
    assert flight.requests == 2


def test_a_much_slower_model_than_the_champion_is_refused() -> None:
    champion = Flight(2, 0.002, 2**20)
    compare(replace(champion, seconds=0.0039), champion, 2.0)
    compare(Flight(2, 0.0019, 2**20), Flight(2, 0.0001, 2**20), 2.0)  # nobody notices
    compare(Flight(0, None, 2**20), champion, 2.0)
    with pytest.raises(
        IntegrityError, match=r"a row takes 4\.10 ms, more than 2 times the champion's 2\.00 ms"
    ):
        compare(replace(champion, seconds=0.0041), champion, 2.0)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("1G", 10**9),
        ("2k", 2000),
        ("7", 7),
        ("1500m", 1),
        ("1Ki", 1024),
    ],
)
def test_quantities_are_read(text: str, size: int) -> None:
    assert quantity(text) == size


def test_no_quantity_is_refused() -> None:
    with pytest.raises(PermanentError, match="512Mi"):
        quantity("lots")
