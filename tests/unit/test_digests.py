from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.digests import canonical_json, digest, digest_directory

if TYPE_CHECKING:
    from pathlib import Path

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_keys_does_not_change_the_bytes(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(turned)
    assert json.loads(canonical_json(value)) == value


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": float("nan")})


def test_a_directory_changes_with_names_and_contents_only(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = digest_directory(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    (tmp_path / ".a.py.swp").write_text("x")
    assert digest_directory(tmp_path) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = digest_directory(tmp_path)
    (tmp_path / "b.py").write_text("2")
    assert len({before, renamed, digest_directory(tmp_path)}) == 3


def test_a_digest_names_its_algorithm() -> None:
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
