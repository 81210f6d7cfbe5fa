"""From the text of /metrics to counts, and from two readings to what happened in between."""

from __future__ import annotations

from collections import Counter

from windtunnel.rollout.counters import (
    CHALLENGER,
    CHAMPION,
    FAULTS,
    PREDICTIONS,
    REQUESTS,
    RESTARTS,
    SECONDS,
    Reading,
    read,
    since,
)

TEXT = """\
# HELP windtunnel_serving_requests_total Infer calls answered.
# TYPE windtunnel_serving_requests_total counter
process_start_time_seconds 1.7e+09
windtunnel_serving_requests_total{model="m",version="1",role="champion",code="200"} 90.0
windtunnel_serving_requests_total{model="m",version="1",role="champion",code="400"} 7.0
windtunnel_serving_requests_total{model="m",version="1",role="champion",code="500"} 2.0
windtunnel_serving_requests_total{model="m",version="1",role="champion",code="503"} 70.0
windtunnel_serving_requests_total{model="m",version="1",role="fallback",code="200"} 5.0
windtunnel_serving_requests_total{model="m",version="2",role="challenger",code="200"} 40.0
windtunnel_serving_requests_total{model="other",version="1",role="champion",code="200"} 1000.0
windtunnel_serving_requests_total{code="200",role="champion",version="0",model="m"} 1000.0
windtunnel_serving_challenger_requests_total{model="m",version="2",mode="routed"} 45.0
windtunnel_serving_challenger_requests_total{model="m",version="2",mode="shadow"} 5.0
windtunnel_serving_challenger_faults_total{model="m",version="2",mode="routed",reason="timeout"} 3.0
windtunnel_serving_challenger_faults_total{model="m",version="2",mode="shadow",reason="timeout"} 1.0
windtunnel_serving_challenger_faults_total{model="m",version="2",mode="routed",reason="error"} 2.0
windtunnel_serving_challenger_restarts_total{model="m",version="2"} 1.0
windtunnel_serving_challenger_state{model="m",version="2",state="Loading"} 0.0
windtunnel_serving_challenger_state{model="m",version="2",state="Ready"} 1.0
windtunnel_serving_predict_seconds_bucket{le="0.001",model="m",role="champion",version="1"} 80.0
windtunnel_serving_predict_seconds_bucket{le="0.01",model="m",role="champion",version="1"} 92.0
windtunnel_serving_predict_seconds_bucket{le="+Inf",model="m",role="champion",version="1"} 92.0
windtunnel_serving_predict_seconds_count{model="m",role="champion",version="1"} 92.0
windtunnel_serving_predictions_bucket{le="0.5",model="m",role="challenger",version="2"} 30.0
windtunnel_serving_predictions_bucket{le="+Inf",model="m",role="challenger",version="2"} 40.0
windtunnel_serving_predictions_bucket{le="0.5",model="m",role="shadow",version="2"} 1.0
windtunnel_serving_predictions_bucket{le="+Inf",model="m",role="shadow",version="2"} 4.0
"""


def test_what_each_of_the_two_versions_did() -> None:
    reading = read(TEXT, "m", "1", "2")
    assert reading.started == 1.7e9
    assert reading.states == {"Ready"}
    assert reading.counts == {
        (CHAMPION, REQUESTS): 92,
        (CHAMPION, FAULTS): 2,
        (CHALLENGER, REQUESTS): 50,
        (CHALLENGER, FAULTS, "timeout"): 4,
        (CHALLENGER, FAULTS, "error"): 2,
        (CHALLENGER, RESTARTS): 1,
        (CHAMPION, SECONDS, "0.001"): 80,
        (CHAMPION, SECONDS, "0.01"): 12,
        (CHAMPION, SECONDS, "inf"): 0,
        (CHALLENGER, PREDICTIONS, "0.5"): 31,
        (CHALLENGER, PREDICTIONS, "inf"): 13,
    }


def test_buckets_that_nobody_fell_into_are_kept() -> None:
    assert (CHAMPION, SECONDS, "inf") in read(TEXT, "m", "1", "2").counts
    assert (CHAMPION, SECONDS, "inf") in since(read(TEXT, "m", "1", "2"), read(TEXT, "m", "1", "2"))


def test_labels_are_read_with_their_escapes() -> None:
    line = r'windtunnel_serving_challenger_requests_total{mode="a\"} \\ \n,b",model="m",version="2"} 3 1700'
    assert read(line, "m", "1", "2").counts == {(CHALLENGER, REQUESTS): 3}


def test_lines_that_are_none_are_passed_over() -> None:
    text = "\n".join(
        (
            "windtunnel_serving_requests_total",
            'windtunnel_serving_requests_total{model="m"',
            'windtunnel_serving_challenger_requests_total{model="m",version="2"} many',
            'windtunnel_serving_challenger_requests_total{model="m",version="2"} NaN',
            'windtunnel_serving_challenger_requests_total{model="m",version="2"} -7',
            'windtunnel_serving_challenger_requests_total{model="m",version="2"} 1e300',
            'windtunnel_serving_predictions_bucket{le="wide",model="m",version="2"} 3',
            "<html>",
            "process_start_time_seconds +Inf",
        )
    )
    assert read(text, "m", "1", "2") == Reading(0.0, Counter())


def test_no_bucket_holds_less_than_nothing() -> None:
    line = 'windtunnel_serving_predictions_bucket{{le="{}",model="m",version="2"}} {}'
    text = "\n".join((line.format("0.5", 9), line.format("1.0", 4), line.format("+Inf", 6)))
    assert read(text, "m", "1", "2").counts == {
        (CHALLENGER, PREDICTIONS, "0.5"): 9,
        (CHALLENGER, PREDICTIONS, "1.0"): 0,
        (CHALLENGER, PREDICTIONS, "inf"): 2,
    }


def reading(started: float = 1.0, **counts: int) -> Reading:
    return Reading(started, Counter({(CHALLENGER, key): number for key, number in counts.items()}))


def test_what_came_on_top() -> None:
    assert since(reading(a=3, b=1), reading(a=5, b=1, c=2)) == {
        (CHALLENGER, "a"): 2,
        (CHALLENGER, "b"): 0,
        (CHALLENGER, "c"): 2,
    }


def test_a_process_that_began_anew_counts_from_zero_even_when_it_is_ahead_already() -> None:
    assert since(reading(1.0, a=3), reading(2.0, a=5)) == {(CHALLENGER, "a"): 5}


def test_a_count_that_fell_began_anew_by_itself() -> None:
    before = Reading(1.0, Counter({(CHAMPION, PREDICTIONS, "0.5"): 9, (CHAMPION, REQUESTS): 20}))
    now = Reading(1.0, Counter({(CHAMPION, PREDICTIONS, "0.5"): 12, (CHAMPION, REQUESTS): 25}))
    assert since(before, now) == {(CHAMPION, PREDICTIONS, "0.5"): 3, (CHAMPION, REQUESTS): 5}
    fallen = Reading(1.0, Counter({(CHAMPION, PREDICTIONS, "0.7"): 4, (CHAMPION, REQUESTS): 25}))
    assert since(before, fallen) == {(CHAMPION, PREDICTIONS, "0.7"): 4, (CHAMPION, REQUESTS): 5}
