"""Addresses of the online store, as settings have them."""

from __future__ import annotations

import ssl

import pytest

from windtunnel.errors import PermanentError
from windtunnel.features.online.redis_address import RedisAddress


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://store", RedisAddress("store")),
        ("redis://store:7000/3", RedisAddress("store", 7000, 3)),
        ("redis://[::1]:7000/", RedisAddress("::1", 7000)),
        ("redis://reader:p%40ss@store/0", RedisAddress("store", username="reader", password="p@ss")),
        ("redis://:only@store", RedisAddress("store", password="only")),
    ],
)
def test_an_address(url: str, expected: RedisAddress) -> None:
    assert RedisAddress.parse(url) == expected


def test_the_password_of_the_settings_goes_first() -> None:
    assert RedisAddress.parse("redis://u:old@store", "new").login() == ((b"AUTH", b"u", b"new"),)
    assert RedisAddress.parse("redis://store/2", "new").login() == ((b"AUTH", b"new"), (b"SELECT", b"2"))
    assert RedisAddress.parse("redis://store").login() == ()


def test_tls_proves_who_the_server_is() -> None:
    context = RedisAddress.parse("rediss://store").tls
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    "url",
    [
        "", "store:6379", "redis://", "redis:///0", "memcached://s3cret@store", "redis://:s3cret@store:port",
        "redis://:s3cret@store/zero", "redis://:s3cret@store/-1", "redis://:s3cret@store:99999",
        "redis://:s3cret@store?ssl_cert_reqs=none", "redis://:s3cret@[store",
    ],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(PermanentError, match=r"WINDTUNNEL_ONLINE_STORE: .*redis://host:port/db") as error:
        RedisAddress.parse(url)
    assert "s3cret" not in str(error.value)
