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
