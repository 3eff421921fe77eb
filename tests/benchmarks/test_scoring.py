"""The benchmark's own checks: it must run at a small size, agree with the originals, and refuse what differs."""

import numpy as np
import pytest

from benchmarks import formats, originals, scoring
from benchmarks.lists import World, tiled, tiled_judgments
from benchmarks.peers import compare
from benchmarks.scoring import Figures, _check_order, measure
from benchmarks.scoring_tables import Growth, growth_lines
from scoring.lists.opening import open_submission
from scoring.lists.ranked import from_codes
from scoring.lists.writing import write_submission
from scoring.measures.average_precision import mean_average_precision

SMALL = World(classes=4, segments_count=20_000, length=400)


@pytest.mark.slow
def test_every_figure_is_measured_and_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "REPEATS", 1)
    monkeypatch.setattr(scoring, "CLASSES", 40)
    figures = measure(World(classes=10, segments_count=5_000, length=200), tmp_path)
    assert isinstance(figures, Figures)
    assert figures.objective_exact
    assert min(figures.fuse_parquet_ratio, figures.fuse_csv_ratio, figures.evaluate_csv_ratio) > 0


def test_members_are_alike_and_a_seed_repeats_them():
    lists, codes, worth = SMALL.ranked(1)
    again, _, _ = SMALL.ranked(1)
    assert all((again[name] == ranked).all() for name, ranked in lists.items())
    assert {len(np.unique(ranked)) for ranked in lists.values()} == {400}
    both = np.intersect1d(lists["bert-l2h12-mean"], lists["bert-l2h12-last"])
    apart = np.intersect1d(lists["bert-l2h12-mean"], lists["netvlad-c8-h1024"])
    assert len(both) > len(apart) > 1.5 * 400 * 400 / len(codes)  # more than by chance
    assert SMALL.judged(1, codes, worth)["relevance"].sum() > 0


def test_google_says_what_we_say(tmp_path):
    lists = {c: SMALL.ranked(c)[0]["bert-l2h12-mean"] for c in range(4)}
    submission = from_codes(lists, SMALL.segments)
    judgments = tiled_judgments(SMALL, 1)
    write_submission(submission, tmp_path / "one.csv")
    expected = mean_average_precision(submission, judgments, cutoff=300, mode="google").map
    assert originals.evaluate_csv(tmp_path / "one.csv", judgments.rows(), 300) == pytest.approx(expected, abs=1e-12)
    assert sorted(tiled({"one": submission}, 3)["one"].classes) == list(range(12))


def test_another_order_is_refused(tmp_path):
    names = SMALL.names[:2]
    SMALL.write(tmp_path)
    coded = [tmp_path / name for name in names]
    weights = dict.fromkeys(names, 1.0)
    first = open_submission(coded[0])
    expected = {0: first.read([0]).long()["segment_id"].to_list()}
    with pytest.raises(ValueError, match="the orders differ"):
        _check_order(expected, open_submission(coded[1]), coded, weights)


@pytest.mark.slow
def test_peers_agree():
    rows = list(compare(lengths=(500,)))
    assert {row.peer for row in rows} == {"ranx", "bare compiled loop", "ir_measures", "pytrec_eval", "scikit-learn"}
    assert all(row.agrees for row in rows)


@pytest.mark.slow
def test_every_format_and_peer_is_measured_and_agrees(tmp_path, monkeypatch):
    """Each in this process, since starting eleven takes a minute; one is measured in its own."""
    calls = []

    def here(tool, task, folder, suffix):
        calls.append((tool, task, suffix))
        return formats.Cost(1.0, 1.0, formats.TOOLS[tool](task, folder, suffix))

    with monkeypatch.context() as patch:
        patch.setattr(formats, "cost", here)
        lines = list(formats.rows(tmp_path, [3], depth=200))
    assert len(lines) == 2 + (len(formats.FORMATS) + 1) + (len(formats.FORMATS) + 2)
    assert len(set(calls)) == len(lines) - 2
    cost = formats.cost("ranx", "fuse", tmp_path, ".run")
    assert cost.result == formats.ours("fuse", tmp_path, ".run")
    assert min(cost.seconds, cost.peak_mib - 50) > 0


def test_growth_is_a_table():
    lines = growth_lines([Growth("classes", (2, 4, 8), (0.1, 0.2, 0.4), (0.01, 0.02, 0.04))])
    assert lines[-1] == "| classes | 2, 4, 8 | 100.0, 200.0, 400.0 | 10.0, 20.0, 40.0 |"
