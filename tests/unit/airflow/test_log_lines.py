from __future__ import annotations

import logging

from windtunnel.airflow.log_lines import LineLevels


def test_the_stages_clock_and_level_are_taken_off() -> None:
    levels = LineLevels()
    assert levels("14:02:11 read 31 partitions") == (logging.INFO, "read 31 partitions")
    assert levels("WARNING: 12 rows are bad") == (logging.WARNING, "12 rows are bad")
    assert levels("14:02:11 ERROR no such column") == (logging.ERROR, "no such column")
    assert levels("2026/11/24 11:45:34 WARNING mlflow.x: old") == (logging.WARNING, "mlflow.x: old")
    assert levels("plain text") == (logging.INFO, "plain text")
    assert levels("INFORMATION is no level") == (logging.INFO, "INFORMATION is no level")


def test_a_traceback_is_an_error_and_what_follows_is_not() -> None:
    lines = [
        "before",
        "14:02:11 Traceback (most recent call last):",
        '  File "train.py", line 3, in train',
        "    features.nope",
        "AttributeError: nope",
        "after",
    ]
    levels = LineLevels()
    assert [levels(line)[0] for line in lines] == [logging.INFO, *[logging.ERROR] * 4, logging.INFO]


def test_an_error_of_ours_is_an_error() -> None:
    assert LineLevels()("14:02:11 DataError: sources/x: no column late")[0] == logging.ERROR
