from __future__ import annotations

from pathlib import Path

import pytest

from windtunnel.errors import PermanentError
from windtunnel.settings import Settings


def test_the_store_is_the_only_thing_that_must_be_set() -> None:
    settings = Settings.from_environment({"WINDTUNNEL_STORE": "s3://bucket"})
    assert settings.store == "s3://bucket"
    assert settings.lifecycles == Path("dags/lifecycles")
    with pytest.raises(PermanentError, match="WINDTUNNEL_STORE is not set"):
        Settings.from_environment({})


def test_the_password_is_not_shown() -> None:
    environ = {"WINDTUNNEL_STORE": "x", "WINDTUNNEL_ONLINE_STORE_PASSWORD": "hunter2"}
    settings = Settings.from_environment(environ)
    assert settings.online_store_password == "hunter2"
    assert "hunter2" not in repr(settings)


def test_the_class_of_a_stage_pod_has_a_price_where_the_platform_says_so() -> None:
    pod = {"WINDTUNNEL_STORE": "x", "WINDTUNNEL_STAGE_CLASS": "large"}
    assert Settings.from_environment(pod).price_per_hour is None
    priced = Settings.from_environment({**pod, "WINDTUNNEL_PRICE_PER_HOUR": "0.25"})
    assert (priced.stage_class, priced.price_per_hour) == ("large", 0.25)
    with pytest.raises(PermanentError, match="'cheap' is no price; give the stage class a number"):
        Settings.from_environment({**pod, "WINDTUNNEL_PRICE_PER_HOUR": "cheap"})
