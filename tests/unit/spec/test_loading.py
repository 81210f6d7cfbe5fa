"""What a user reads when lifecycle.yaml is wrong."""

# ruff: noqa: E501 - a table of messages reads best with one in each line

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windtunnel.errors import SpecError
from windtunnel.spec import load_lifecycle
from windtunnel.spec.loading import find_lifecycles

EXAMPLES = find_lifecycles(Path(__file__).parents[3] / "dags" / "lifecycles")


def problems(directory: Path, old: str, new: str) -> list[str]:
    """Load the lifecycle with a change and return what is said, without the directory."""
    path = directory / "lifecycle.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SpecError) as caught:
        load_lifecycle(directory)
    found = caught.value.problems or (caught.value,)
    return [str(problem).replace(str(directory) + "/", "") for problem in found]


def test_a_small_lifecycle_has_sensible_defaults(lifecycle_directory: Path) -> None:
    lifecycle = load_lifecycle(lifecycle_directory)
    assert lifecycle.name == "demo"
    assert lifecycle.spec.training.schedule == "features"
    assert lifecycle.spec.sources["orders"].on_bad_rows == "quarantine"
    assert lifecycle.stage("train").stage_class == "small"
    assert lifecycle.stage("train").timeout.total_seconds() == 1800
    assert lifecycle.stage("train").retries == 1
    features = lifecycle.spec.features
    assert (features.engine, features.freshness, features.materialize_slice_days) == ("asof", {}, 90)
    monitoring = lifecycle.spec.monitoring
    assert (monitoring.schedule, monitoring.rows, monitoring.window.days) == (None, None, 1)
    assert not monitoring.retrain.on_drift, "nothing trains by itself unless the lifecycle says so"


@pytest.mark.parametrize("directory", EXAMPLES, ids=lambda directory: directory.name)
def test_every_example_loads(directory: Path) -> None:
    assert load_lifecycle(directory).name == directory.name


def test_the_digest_is_of_the_meaning(lifecycle_directory: Path) -> None:
    path = lifecycle_directory / "lifecycle.yaml"
    before = load_lifecycle(lifecycle_directory).digest
    path.write_text(
        "# a comment\n" + path.read_text().replace("{name: demo, owner: tests}", "{owner: tests, name: demo}")
    )
    assert load_lifecycle(lifecycle_directory).digest == before
    path.write_text(path.read_text() + "  scoring: {shards: 1}\n")
    assert load_lifecycle(lifecycle_directory).digest == before, "a default spelled out"
    path.write_text(path.read_text().replace("shards: 1", "shards: 2"))
    assert load_lifecycle(lifecycle_directory).digest != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("service: demo", "servise: demo", "lifecycle.yaml:7: unknown field 'servise' in spec.features; did you mean 'service'?"),
        ("  training:", "  trainning: {}\n  training:", "lifecycle.yaml:9: unknown field 'trainning' in spec; did you mean 'training'?"),
        ("  label:", "  scoring: {zzz: 1}\n  label:", "lifecycle.yaml:8: unknown field 'zzz' in spec.scoring; known here: shards"),
        (", owner: tests", "", "lifecycle.yaml:3: the field 'owner' is missing in metadata; add it: Team or person to ask"),
        ("views: [customer, product]", "views: customer", "lifecycle.yaml:7: 'views' must be a list, not 'customer'"),
        ("kind: binary", "kind: binry", "lifecycle.yaml:8: 'kind' cannot be 'binry'; did you mean 'binary'?"),
        ("kind: Lifecycle", "kind: Pipeline", "lifecycle.yaml:2: 'kind' cannot be 'Pipeline'; write Lifecycle"),
        ("service: demo", "service: demo, schedule: 5 4 * *", "lifecycle.yaml:7: schedule: '5 4 * *' has 4 fields, cron has 5; write minute, hour, day of month, month, day of week"),
        ("service: demo", "service: demo, lookbackDays: 0", "lifecycle.yaml:7: 'lookbackDays' should be greater than or equal to 1, not 0"),
        ("service: demo", "service: demo, lookbackDays: soon", "lifecycle.yaml:7: 'lookbackDays' must be a whole number, not 'soon'"),
        ("service: demo", "service: demo, service: two", "lifecycle.yaml:7: 'service' stands here twice, first in line 7; remove one of the two"),
        ("train:train", "train:fit", "'train:fit' names what train.py does not define; define fit there"),
        ("train:train", "trian:train", "'trian:train' names a file that does not exist: trian.py; did you mean 'train:train'?"),
        ("features:Orders", "features:Order", "'features:Order' names what features.py does not define; did you mean 'features:Orders'?"),
        ("{date}", "{day}", "lifecycle.yaml:6: uri: 'sources/orders/{day}.parquet' must hold {date} once; put it where the ISO date of a partition stands"),
        # its Service would be called demo-
        ("name: demo", "name: demo_", "lifecycle.yaml:3: 'name' is 'demo_', which does not match"),
        ("name: demo", "name: other", "lifecycle.yaml:3: the lifecycle is named 'other' but stands in the directory 'demo'; give both the same name"),
        ("  label:", "  stages: {trian: {}}\n  label:", "lifecycle.yaml:8: 'trian' is not known here; did you mean 'train'?"),
        ("  label:", "  stages: {train: {timeout: soon}}\n  label:", "lifecycle.yaml:8: timeout: 'soon' is no duration"),
        ("service: demo", "service: demo, request: [bought]", "the label 'bought' is in features.request: the model would be asked with the answer; take it out"),
        ("  label:", "  evaluation: {metric: squared_error}\n  label:", "evaluation.metric 'squared_error' does not fit a binary label; use log_loss or brier"),
        ("views: [customer, product]", "views: [customer, customer]", "customer stands here more than once"),
        ("service: demo", "service: demo, freshness: {custommer: 2h}", "lifecycle.yaml:7: freshness: there is no view 'custommer'; did you mean 'customer'?"),
        ("service: demo", "service: demo, freshness: {x: 2h}", "lifecycle.yaml:7: freshness: there is no view 'x'; the views are customer, product"),
        ("service: demo", "service: demo, freshness: {product: soon}", "lifecycle.yaml:7: product: 'soon' is no duration"),
        ("service: demo", "service: demo, engine: flink", "lifecycle.yaml:7: 'engine' cannot be 'flink'"),
        ("service: demo", "service: demo, materializeSliceDays: 0", "lifecycle.yaml:7: 'materializeSliceDays' should be greater than or equal to 1"),
        ("  label:", "  monitoring: {seasons: week}\n  label:", "lifecycle.yaml:8: 'seasons' cannot be 'week'; did you mean 'weekday'?"),
        ("  label:", "  monitoring: {retrain: {onDrfit: true}}\n  label:", "lifecycle.yaml:8: unknown field 'onDrfit' in spec.monitoring.retrain; did you mean 'onDrift'?"),
        ("  label:", "  monitoring: {schedule: hourly}\n  label:", "lifecycle.yaml:8: schedule: 'hourly' has 1 fields, cron has 5"),
        ("  label:", "  monitoring: {embedding: 'train:embed'}\n  label:", "lifecycle.yaml:8: 'train:embed' names what train.py does not define; define embed there"),
        ("  label:", "  monitoring: {rows: 100}\n  label:", "rows 100 is below minRows 500, so no window would ever do; raise it"),
        ("  label:", "  monitoring: {window: 999999999999d}\n  label:", "lifecycle.yaml:8: window: a duration of '999999999999d' is too long; write 3660d or less"),
        ("  label:", "  evaluation: {gate: {margin: .inf}}\n  label:", "lifecycle.yaml:8: 'margin' should be a finite number, not inf"),
        ("  label:", "  monitoring: {minRows: 0}\n  label:", "lifecycle.yaml:8: 'minRows' should be greater than or equal to 1, not 0"),
        ("  label:", "  retention: {predictionDays: 4}\n  label:", "retention.predictionDays 4 is too short: monitoring.window and label.delayDays look back 4 days; let it be 5 or more"),
        ("  label:", "  monitoring: {rows: 1000}\n  retention: {predictionDays: 95}\n  label:", "retention.predictionDays 95 is too short: monitoring.rows and label.delayDays look back 95 days; let it be 96 or more"),
        ("  label:", "  retention: {featureDays: 50}\n  label:", "retention.featureDays 50 is too short: trainings or the monitor reach back 51 days"),
        ("  label:", "  monitoring: {window: 200d}\n  retention: {featureDays: 218}\n  label:", "retention.featureDays 218 is too short: trainings or the monitor reach back 219 days"),
        ("spec:", "spec: {", "lifecycle.yaml:"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_line_with_the_way_to_mend_it(
    lifecycle_directory: Path, old: str, new: str, said: str
) -> None:
    assert any(said in problem for problem in problems(lifecycle_directory, old, new))


def test_all_mistakes_come_at_once_in_the_order_of_lines(lifecycle_directory: Path) -> None:
    path = lifecycle_directory / "lifecycle.yaml"
    path.write_text(path.read_text().replace("owner", "ownr").replace("kind: binary", "kind: x"))
    found = problems(lifecycle_directory, "train:train", "train:fit")
    assert [problem.partition(": ")[0] for problem in found] == [f"lifecycle.yaml:{n}" for n in (3, 3, 8, 9)]


@pytest.mark.parametrize("text", ["", "[]", "7", "a: &a [*a]", "a: *b", "? [x]\n: 1", "on: 1", "\tx", "a: 2013-99-99", "a: !!python/object:x {}"])  # fmt: skip
def test_anything_but_a_lifecycle_is_refused_in_words(lifecycle_directory: Path, text: str) -> None:
    (lifecycle_directory / "lifecycle.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"lifecycle\.yaml:\d+: "):
        load_lifecycle(lifecycle_directory)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_the_file_escapes_as_another_error(
    lifecycle_directory: Path, data: st.DataObject
) -> None:
    path = lifecycle_directory / "lifecycle.yaml"
    whole = path.read_text()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 20)))
    put = data.draw(st.text("{}[]:,#&*!|>'\"%@`?- \n\tab0", max_size=4))
    try:
        path.write_text(whole[:start] + put + whole[end:])
        load_lifecycle(lifecycle_directory)
    except SpecError as error:
        assert str(lifecycle_directory) in str(error)  # noqa: PT017 - the one error that may come
    finally:
        path.write_text(whole)


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no lifecycle\.yaml; `windtunnel init NAME`"):
        load_lifecycle(tmp_path)


def test_bytes_that_are_no_text_are_refused(lifecycle_directory: Path) -> None:
    (lifecycle_directory / "lifecycle.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(SpecError, match="cannot be read"):
        load_lifecycle(lifecycle_directory)


@pytest.mark.parametrize(
    "code",
    ["from trees import train", "if True:\n    def train(): ...", "train = lambda x: x", "import train", "from trees import *",
     "try:\n    from a import train\nexcept ImportError:\n    train = None"],
)  # fmt: skip
def test_a_name_may_be_bound_in_any_way(lifecycle_directory: Path, code: str) -> None:
    (lifecycle_directory / "train.py").write_text(code)
    load_lifecycle(lifecycle_directory)


@pytest.mark.parametrize(
    "code", [b"\xef\xbb\xbfdef train(): ...", b"# coding: latin-1\n# gr\xfcn\ndef train(): ..."]
)
def test_code_may_have_any_encoding_that_python_reads(lifecycle_directory: Path, code: bytes) -> None:
    (lifecycle_directory / "train.py").write_bytes(code)
    load_lifecycle(lifecycle_directory)


@pytest.mark.parametrize("code", [b"x = 'gr\xfcn'\ndef train(): ...", b"# coding: runes\ndef train(): ..."])
def test_code_of_bytes_that_python_does_not_read_is_told(lifecycle_directory: Path, code: bytes) -> None:
    (lifecycle_directory / "train.py").write_bytes(code)
    with pytest.raises(SpecError, match=r"names a file that is no Python: .*train\.py"):
        load_lifecycle(lifecycle_directory)


def test_code_that_is_no_python_is_told(lifecycle_directory: Path) -> None:
    (lifecycle_directory / "train.py").write_text("def train(:\n")
    with pytest.raises(SpecError, match=r"names a file that is no Python: .*train\.py:1"):
        load_lifecycle(lifecycle_directory)


def test_the_rollout_gets_the_time_that_its_steps_may_take(lifecycle_directory: Path) -> None:
    path = lifecycle_directory / "lifecycle.yaml"
    before = path.read_text()
    rollout = load_lifecycle(lifecycle_directory).stage("rollout")
    assert (rollout.timeout.total_seconds(), rollout.retries) == (4 * 3600 + 1800, 5)
    path.write_text(
        before + "  rollout: {shadow: null, steps: [50], stepTimeout: 5s, pauseBefore: champion}\n"
    )
    assert load_lifecycle(lifecycle_directory).stage("rollout").timeout.total_seconds() == 25 * 3600 - 1200
    path.write_text(before + "  stages: {rollout: {retries: 0, timeout: 5h}}\n")
    rollout = load_lifecycle(lifecycle_directory).stage("rollout")
    assert (rollout.timeout.total_seconds(), rollout.retries) == (5 * 3600, 0)
    path.write_text(before + "  stages: {rollout: {timeout: 1h}}\n")
    with pytest.raises(SpecError, match="timeout is 60 min, but the steps of the rollout may take 270 min"):
        load_lifecycle(lifecycle_directory)
