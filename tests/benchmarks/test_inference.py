"""The benchmark of prediction, on members and videos of toy size."""

from pathlib import Path

import pytest

from benchmarks.inference import measure, print_figures
from tests.training.conftest import write_tiny_store
from training.members import member_of
from videos.store import FrameStore, open_frames


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    folder: Path = tmp_path_factory.mktemp("store") / "tiny"
    write_tiny_store(folder)
    return open_frames(folder)


@pytest.mark.parametrize("name", ["bert-l2h12-concat", "mix-nextvlad-60", "gated-netvlad", "context-aware"])
def test_one_pass_and_plain_passes_agree_and_are_timed(store: FrameStore, name: str, capsys) -> None:
    figures = measure(member_of("beyond", name), store)
    assert figures.largest_difference < 1e-6
    assert figures.windows_per_second > 0
    assert figures.against_plain > 0
    assert figures.multiply_adds_per_second > 1e6
    print_figures([figures])
    assert name in capsys.readouterr().out
