from __future__ import annotations

import pytest

from windtunnel.errors import PermanentError
from windtunnel.features.feature_store import online_store_config
from windtunnel.settings import Settings


def test_an_unknown_online_store_is_named_without_its_password() -> None:
    settings = Settings(store="store", online_store="valkey://user:secret@host:6379/0")
    with pytest.raises(PermanentError, match="'valkey://host:6379/0' is no online store") as caught:
        online_store_config(settings)
    assert "secret" not in str(caught.value)


def test_the_file_of_a_sqlite_store_may_have_any_name() -> None:
    config = online_store_config(Settings(store="store", online_store="sqlite:///home/me/C# 100%?/online.db"))
    assert config == {"type": "sqlite", "path": "/home/me/C# 100%?/online.db"}


def test_user_and_password_reach_feast_as_they_are() -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    url = "rediss://me%2Cyou@host:6380/3"
    config = online_store_config(Settings(store="", online_store=url, online_store_password='p,"w=1 %#é'))
    nodes, options = RedisOnlineStore._parse_connection_string(config["connection_string"])
    assert nodes == [{"host": "host", "port": "6380"}]
    assert options == {
        "db": 3,
        "socket_connect_timeout": 5,
        "socket_timeout": 60,
        "ssl": True,
        "username": "me,you",
        "password": 'p,"w=1 %#é',
    }
