from __future__ import annotations

import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3_server import S3Server, s3_server

from windtunnel.errors import NotFoundError, PermanentError, RequestError, StoreError
from windtunnel.objects import ObjectStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENT = st.text("ab.=_-+@:,() 0Z", min_size=1, max_size=4).filter(
    lambda s: s not in (".", "..") and not s.endswith(":")
)
# One depth, so that no key is a folder of another (file systems and the embedded S3 cannot hold both).
KEYS = st.builds("{}/{}".format, SEGMENT, SEGMENT)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "put_new", "delete", "get", "list"]), KEYS, st.binary(max_size=8)),
    max_size=12,
)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(params=["directory", "s3", "s3 with a prefix"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path, server: S3Server) -> ObjectStore:
    server.objects.clear()
    if request.param == "directory":
        return open_store(str(tmp_path / "with space"), {})
    prefix = "/team/a" if "prefix" in request.param else ""
    return open_store(f"s3://bucket{prefix}", server.environment)


def test_what_was_put_is_there(any_store: ObjectStore) -> None:
    any_store.put("a/b.json", b"one")
    any_store.put("a/b.json", b"two")
    assert any_store.get("a/b.json") == b"two"
    assert any_store.exists("a/b.json")
    assert not any_store.exists("a")
    [entry] = any_store.list("a")
    assert (entry.key, entry.size) == ("a/b.json", 3)
    assert entry.modified.utcoffset() is not None


def test_a_range_of_an_object(any_store: ObjectStore) -> None:
    any_store.put("a/b", b"0123456789")
    assert any_store.get_range("a/b", 3, 4) == b"3456"
    assert any_store.get_range("a/b", 8, 4) == b"89"
    with pytest.raises(NotFoundError):
        any_store.get_range("a/c", 0, 1)


def test_folders_are_those_right_below(any_store: ObjectStore) -> None:
    assert any_store.folders() == []
    for key in ("b/c/d", "b/e", "a/f", "g"):
        any_store.put(key, b"")
    assert any_store.folders() == ["a", "b"]
    assert any_store.folders("b") == ["c"]
    assert any_store.folders("g") == []


def test_an_absent_object_is_not_found_and_may_be_deleted(any_store: ObjectStore) -> None:
    with pytest.raises(NotFoundError, match="there is no such object"):
        any_store.get("a/b")
    any_store.delete("a/b")
    assert any_store.list("a") == []


def test_a_listing_takes_whole_segments(any_store: ObjectStore) -> None:
    for key in ("a/b/2", "a/b/1", "a/bc/3", "z"):
        any_store.put(key, b"")
    assert [entry.key for entry in any_store.list("a/b")] == ["a/b/1", "a/b/2"]
    assert [entry.key for entry in any_store.list("a/b/")] == ["a/b/1", "a/b/2"]
    assert [entry.key for entry in any_store.list()] == ["a/b/1", "a/b/2", "a/bc/3", "z"]


def test_of_many_writers_one_is_first(any_store: ObjectStore) -> None:
    barrier = threading.Barrier(8)

    def write(number: int) -> bool:
        barrier.wait()
        return any_store.put_new("race/key", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert sum(won) == 1
    assert any_store.get("race/key") == str(won.index(True)).encode()


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "a/", "../a", "a/../b", "a/.", "a\\b", "a#1", "x/a:", "a\nb", "a" * 901]
)
def test_unsafe_keys_are_refused(any_store: ObjectStore, key: str) -> None:
    for act in (any_store.get, any_store.exists, any_store.delete, any_store.uri):
        with pytest.raises(RequestError, match="is not a key"):
            act(key)
    with pytest.raises(RequestError, match="is not a key"):
        any_store.put(key, b"")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_directory_and_s3_behave_as_a_dictionary(
    any_store: ObjectStore, operations: list[tuple[str, str, bytes]]
) -> None:
    folder = uuid.uuid4().hex
    model: dict[str, bytes] = {}
    for operation, name, data in operations:
        key = f"{folder}/{name}"
        if operation == "put":
            any_store.put(key, data)
            model[key] = data
        elif operation == "put_new":
            assert any_store.put_new(key, data) == (key not in model)
            model.setdefault(key, data)
        elif operation == "delete":
            any_store.delete(key)
            model.pop(key, None)
        elif operation == "get" and key in model:
            assert any_store.get(key) == model[key]
        assert any_store.exists(key) == (key in model)
        assert any_store.key(any_store.uri(key)) == key
    assert [entry.key for entry in any_store.list(folder)] == sorted(model)


def test_a_uri_of_another_store_is_refused(any_store: ObjectStore) -> None:
    with pytest.raises(RequestError, match="is not in this object store"):
        any_store.key("s3://elsewhere/a")
    assert any_store.key("sources/a") == "sources/a"


def test_a_fault_of_the_server_may_be_retried(server: S3Server) -> None:
    store = open_store("s3://bucket", server.environment, patience_seconds=0.2)
    server.fault = HTTPStatus.SERVICE_UNAVAILABLE
    try:
        with pytest.raises(StoreError, match="the object store failed"):
            store.get("a")
        with pytest.raises(StoreError):
            store.put_new("a", b"")
    finally:
        server.fault = None


def test_a_refusal_is_permanent(server: S3Server) -> None:
    server.fault = HTTPStatus.FORBIDDEN
    try:
        with pytest.raises(PermanentError, match="the object store refused"):
            open_store("s3://bucket", server.environment).get("a")
    finally:
        server.fault = None


def test_a_server_that_is_away_may_be_retried(server: S3Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    environ = {**server.environment, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}
    with pytest.raises(StoreError):
        open_store("s3://bucket", environ, patience_seconds=0.2).exists("a")


@pytest.mark.parametrize("url", ["gs://bucket", "s3:///prefix", "http://host"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="use s3://"):
        open_store(url, {})


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="cannot make the directory"):
        open_store(str(tmp_path / "file" / "store"), {})


def test_an_object_knows_when_it_was_written(store: ObjectStore) -> None:
    assert store.modified("a/b") is None
    store.put("a/b", b"1")
    written = store.modified("a/b")
    assert written is not None
    assert written.tzinfo is not None
    assert store.put_new("a/b", b"2") is False
    assert store.modified("a/b") == written


def test_a_listing_may_begin_behind_a_key(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "a/3", "b/1"):
        store.put(key, b"x")
    assert [entry.key for entry in store.list("a", after="a/1")] == ["a/2", "a/3"]
    assert [entry.key for entry in store.list("a", after="a/15")] == ["a/2", "a/3"]
    assert store.list("a", after="a/3") == []
    assert [entry.key for entry in store.list(after="a/2")] == ["a/3", "b/1"]
