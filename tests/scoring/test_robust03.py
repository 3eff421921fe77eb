"""The seventeen runs of TREC's Robust track of 2003 through the command line, as anybody would."""

import json

import pytest


@pytest.fixture
def files(real_data, tmp_path, monkeypatch):
    """The working folder, with the judgments of the odd topics (1.txt) and of the even ones (0.txt)."""
    monkeypatch.chdir(tmp_path)
    lines = (real_data / "trec" / "robust03" / "qrels.txt").read_text().splitlines(keepends=True)
    for half in (0, 1):
        (tmp_path / f"{half}.txt").write_text("".join(line for line in lines if int(line.split()[0]) % 2 == half))
    return tmp_path


@pytest.mark.frameworks
def test_weights_of_half_of_the_topics_beat_equal_ones_on_the_other_half(real_data, scoring, files):
    fit, held_out = "0.txt", "1.txt"
    members = [str(path) for path in sorted((real_data / "trec" / "robust03").glob("input.*.gz"))]
    trec = ["--format", "trec"]
    flags = [*trec, "--judgments", fit, "--trials", "10", "--out", "weights.json", "--json"]
    code, out, err = scoring("optimize", *members, *flags)
    assert code == 0, err
    report = json.loads(out)
    assert len(report["weights"]) == 17
    assert report["unit"] == "class"
    validated = report["cross_validated"]
    assert 0 < validated["equal_weights"] < validated["fitted"] < 1
    assert validated["best_member"] < validated["fitted"]

    assert scoring("fuse", *members, *trec, "--weights", "weights.json", "--out", "found.csv")[0] == 0
    assert scoring("fuse", *members, *trec, "--out", "equal.csv")[0] == 0
    in_sample = json.loads(scoring("evaluate", "found.csv", fit, *trec, "--json")[1])
    assert (in_sample["map"], [in_sample["low"], in_sample["high"]]) == (report["map"], report["interval"])
    best = next(path for path in members if path.endswith(f"/{max(report['members'], key=report['members'].get)}.gz"))
    rivals = ["found.csv", "equal.csv", best]
    code, out, err = scoring("compare", *rivals, *trec, "--judgments", held_out, "--json")
    assert code == 0, err
    gains = {pair["other"]: pair for pair in json.loads(out)["differences"] if pair["one"] == "found"}
    assert len(gains) == 2  # the found weights come first
    assert gains["equal"]["low"] > 0
    # What cross-validation foretold within the one half holds on the other.
    assert gains["equal"]["map"] == pytest.approx(validated["fitted"] - validated["equal_weights"], abs=0.02)
