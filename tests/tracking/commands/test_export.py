import json
from pathlib import Path

import polars as pl
import pytest

from tests.dashboard.seeding import MAP, ensemble_stage, seed_ensemble, seed_failure, seed_member
from tracking import metrics
from tracking.commands.export import export, table
from tracking.runs import find_runs

pytestmark = pytest.mark.usefixtures("store")


def test_a_table_has_a_row_per_stage_in_a_fixed_order(tmp_path: Path) -> None:
    seed_ensemble()
    for name in ("gated-netvlad", "bert-l2h12-mean"):
        seed_member(name)
    export(tmp_path / "runs.csv", experiment="synthetic")
    rows = pl.read_csv(tmp_path / "runs.csv")
    assert rows.columns == [
        *("dataset", "lineup", "member", "stage", "split", "status", "map", "low", "high", "seconds"),
        *("commit", "dirty", "run"),
    ]
    bert = rows.filter(pl.col("member") == "bert-l2h12-mean")
    assert bert["stage"].to_list() == ["pretrain", "finetune", "infer"]
    assert bert["map"].to_list() == [0.5712, 0.6693, 0.6693]
    assert bert["seconds"][0] == 60.0
    assert rows["member"].drop_nulls().is_sorted()
    ensemble = rows.filter(pl.col("member").is_null())
    assert ensemble["stage"].to_list() == ["merge", "optimize", "fuse"]
    assert ensemble["map"].to_list() == [None, MAP, None]
    assert set(rows["run"]) == {run.run_id for run in find_runs("synthetic") if run.parent}


def test_another_run_adds_its_line_and_changes_no_other(tmp_path: Path) -> None:
    seed_member("boosted")
    export(tmp_path / "before.json")
    seed_member("bert-l2h12-mean")
    export(tmp_path / "after.json")
    before, after = ((tmp_path / name).read_text().replace(",\n", "\n") for name in ("before.json", "after.json"))
    assert set(before.splitlines()) < set(after.splitlines())
    assert len(json.loads((tmp_path / "after.json").read_text())) == len(after.splitlines()) - 2


def test_markdown_has_the_same_rows_and_failures_are_in_it(tmp_path: Path) -> None:
    seed_failure()
    export(tmp_path / "runs.md", lineup="audioset")
    lines = (tmp_path / "runs.md").read_text().splitlines()
    assert len(lines) == 2 + table(find_runs(finished=False)).height
    assert "| audioset | audioset | bert-l2h8-mean | finetune |  | FAILED |  |  |  |" in "\n".join(lines)
    assert len({line.count("|") for line in lines}) == 1


def test_the_merged_map_of_each_member_is_that_of_one_search() -> None:
    with ensemble_stage("optimize", "synthetic", "demo").open() as opened:
        opened.run.params({"infer_run/bert": "0" * 32})
        opened.run.metrics({metrics.map_of("bert"): 0.7, metrics.low("bert"): 0.6, metrics.high("bert"): 0.8})
    merged = table(find_runs()).filter(pl.col("stage") == "merged")
    assert merged.select("member", "map", "low", "high", "run").rows() == [("bert", 0.7, 0.6, 0.8, opened.run.run_id)]


def test_a_suffix_without_a_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"runs\.xls has no known format; name it \.csv, \.md"):
        export(tmp_path / "runs.xls")
