from __future__ import annotations

from datetime import timedelta

import pytest
from aged_store import AgedStore

from windtunnel.registry.renewal import renew

FOLDER = "shop/bundles/" + "ab" * 32
URI = f"s3://windtunnel/{FOLDER}"


def bundle() -> AgedStore:
    store = AgedStore()
    for name in ("golden.json", "model.onnx"):
        store.put(f"{FOLDER}/{name}", b"1")
    store.put(f"{FOLDER}/manifest.json", b'{"files": {"golden.json": "sha256:1", "model.onnx": "sha256:2"}}')
    store.now += timedelta(days=40)
    return store


@pytest.mark.parametrize("uri", [URI, f"{URI}/"])
def test_what_is_whole_is_as_young_as_if_it_were_written_now(uri: str) -> None:
    store = bundle()
    content = store.get(f"{FOLDER}/manifest.json")
    assert renew(store, uri)
    assert store.modified(f"{FOLDER}/manifest.json") == store.now
    assert store.get(f"{FOLDER}/manifest.json") == content


@pytest.mark.parametrize("lost", ["golden.json", "model.onnx", "manifest.json"])
def test_of_what_lost_a_part_it_says_so_and_nothing_is_made_up(lost: str) -> None:
    store = bundle()
    store.delete(f"{FOLDER}/{lost}")
    left = store.keys()
    assert not renew(store, URI)
    assert store.keys() == left


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"files": null}', b'{"files": {"../a": "sha256:0"}}', b"\xff"]
)
def test_a_manifest_that_is_none_is_left_as_it_is(content: bytes) -> None:
    store = bundle()
    store.put(f"{FOLDER}/manifest.json", content)
    assert not renew(store, URI)
    assert store.get(f"{FOLDER}/manifest.json") == content
