import pytest

from scoring.commands.published import read_published
from scoring.tracked import logs

ROWS = "evaluation,map,seconds,w0,w1,w2\n1,0.5,0.0,6.0,30,10\n2,0.4,7,1.0,0,5\n3,0.6,9,2.5,1,1\n"


def test_the_log_as_trials(tmp_path):
    path = tmp_path / "search.csv"
    path.write_text(ROWS)
    trials = read_published(path)
    assert trials.rows() == [
        (0, "published", 0.75, 0.25, 5.0, 0.5, 0.5, 0.0),
        (1, "published", 0.0, 1.0, 0.0, 0.4, 0.5, 7.0),
        (2, "published", 0.5, 0.5, 1.5, 0.6, 0.6, 9.0),
    ]
    assert trials.columns == ["trial", "source", "weight/w1", "weight/w2", "k", "map", "best", "seconds"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("evaluation,map,seconds,w0,w1\n", "lacks"),
        ("evaluation,map,w0,w1\n1,0.5,6,1\n", "lacks \\['seconds'\\]"),
        ("evaluation,map,seconds,w0\n1,0.5,1,6\n", "lacks weights"),
        ("evaluation,map,seconds,w0,w1\n1,high,1,6,1\n", "no number"),
        ("", "cannot be read"),
        ("evaluation,map,seconds,w0,w1\n1,0.5,1,6\n2,0.5,1,6,1,7\n", "cannot be read as CSV \\(found more fields"),
        ("evaluation,map,seconds,w0,w1\n1,0.5,,6,1\n", "missing or infinite"),
        ("evaluation,map,seconds,w0,w1\n1,inf,1,6,1\n", "missing or infinite"),
        ("evaluation,map,seconds,w0,w1\n1,0.5,1,6,0\n", "sum to 0"),
        ("evaluation,map,seconds,w0,w1,w2\n1,0.5,1,6,-1,2\n", "weights are negative"),
        ("evaluation,map,seconds,w0,w1\n1e10,0.5,1,6,1\n", "an evaluation that is not between"),
    ],
)
def test_faults_are_refused_with_the_reason(content, complaint, tmp_path):
    path = tmp_path / "search.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=complaint) as refused:
        read_published(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_real_log_becomes_one_reference_run(real_data, store):
    path = real_data / "yt8m" / "published_weight_search.csv"
    trials = read_published(path)
    run = logs.log_published(path, trials)
    assert run.params["best_evaluation"] == "52"
    assert run.metrics["best_map"] == pytest.approx(0.8278079759, abs=1e-9)
    assert run.metrics["k"] == pytest.approx(5.058430980648939)
    assert run.artifact("search.png").exists()
    assert logs.log_published(path, trials).run_id == run.run_id
