"""What a process that runs somebody's model gets to know."""

from __future__ import annotations

from windtunnel.serving.child_process import child_environment


def test_it_gets_the_object_store_and_no_other_setting() -> None:
    ours = {
        "PATH": "/usr/bin",
        "AWS_SECRET_ACCESS_KEY": "of the object store",
        "WINDTUNNEL_STORE": "s3://windtunnel",
        "WINDTUNNEL_ONLINE_STORE": "redis://valkey:6379/0",
        "WINDTUNNEL_ONLINE_STORE_PASSWORD": "secret",
        "WINDTUNNEL_SERVED_MODELS": "kubernetes:windtunnel",
        "OMP_NUM_THREADS": "8",
    }
    assert child_environment(ours, {"OMP_NUM_THREADS": "1"}) == {
        "PATH": "/usr/bin",
        "AWS_SECRET_ACCESS_KEY": "of the object store",
        "WINDTUNNEL_STORE": "s3://windtunnel",
        "OMP_NUM_THREADS": "1",
    }
