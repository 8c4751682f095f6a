"""Results on disk: what was written comes back, and what was not written by edgecc does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.benchmarks import results_store
from edgecc.errors import ArtifactError
from edgecc.results import ProcessSample, Results

MakeResults = Callable[..., Results]


def test_what_was_saved_comes_back_under_both_names(tmp_path: Path, make_results: MakeResults) -> None:
    results = make_results(("gateway", "pi"))
    path = results_store.save(results, tmp_path / "results")
    assert path.name == f"{results.run_id}.json"
    assert results_store.load(path) == results
    assert results_store.load_latest(tmp_path / "results") == results


@given(st.lists(st.floats(min_value=0, exclude_min=True, allow_infinity=False)))
def test_raw_values_come_back_to_the_last_bit(values: list[float]) -> None:
    sample = ProcessSample(
        latencies_s=tuple(values), warmups=0, load_cold_s=0.1, load_warm_s=0.1, memory_peak_bytes=None
    )
    assert ProcessSample.model_validate_json(sample.model_dump_json()) == sample


def test_nothing_measured_yet_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing was measured yet") as caught:
        results_store.load_latest(tmp_path)
    assert caught.value.hint is not None
    assert "edgecc bench" in caught.value.hint


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}", b"[" * 100_000, b'{"schema_version": 2}']
)
def test_a_damaged_or_foreign_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "latest.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="expected results") as caught:
        results_store.load(path)
    assert caught.value.hint


def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path: Path, make_results: MakeResults) -> None:
    path = results_store.save(make_results(), tmp_path)
    content = path.read_bytes().rstrip()
    for length in range(0, len(content), len(content) // 50):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            results_store.load(path)


@pytest.mark.parametrize(
    ("key", "value"), [("rows", [{"variant": "x"}]), ("duration_s", "long"), ("surprise", 1), ("schema_version", 99)]
)
def test_every_field_is_checked(tmp_path: Path, make_results: MakeResults, key: str, value: Any) -> None:
    path = results_store.save(make_results(), tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ArtifactError, match="expected results"):
        results_store.load(path)


def test_run_ids_sort_by_time_and_never_repeat() -> None:
    earlier = datetime(2026, 11, 24, 7, 35, 12, tzinfo=UTC)
    later = earlier.replace(second=13)
    ids = [results_store.new_run_id(earlier) for _ in range(50)]
    assert len(set(ids)) == 50
    assert max(ids) < results_store.new_run_id(later)
