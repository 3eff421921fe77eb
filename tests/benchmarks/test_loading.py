"""Cold batches read little more than their windows from the disk."""

from pathlib import Path

import pytest

from benchmarks import loading


def test_a_cold_batch_reads_at_most_twice_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLD_FILES": 8, "VIDEOS": 4, "BATCH": 16, "ROUNDS": 3}.items():
        monkeypatch.setattr(loading, name, value)
    loading.write_store(tmp_path / "store", 32, 8, is_sparse=False)
    figures = loading.cold(tmp_path / "store")
    assert figures["bytes_read_ratio"] <= 2  # 0 where the files are in memory whatever happens
    assert figures["cold_ms"] > 0


def test_sparse_files_are_read_as_zeros(tmp_path: Path) -> None:
    store = loading.write_store(tmp_path / "store", 6, 3, is_sparse=True)
    assert [store.frames(file).shape for file in store.videos["file"].unique()] == [(600, 1152)] * 3
    assert not store.frames("frames/2.npy")[-5:].any()
