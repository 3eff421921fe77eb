import gzip
import json
from pathlib import Path

import pytest

from tracking.commands.lineage import lineage
from tracking.lineage import origin_of, submission_digest
from tracking.writing import open_run

pytestmark = pytest.mark.usefixtures("store")


def made(stage: str, params: dict[str, str], **tags: str) -> str:
    with open_run("synthetic", stage, {"stage": stage, "lineup": "demo", "data_digest": "d" * 64, **tags}) as run:
        run.params(params)
    return run.run_id


@pytest.fixture
def line_up(tmp_path: Path) -> dict[str, str]:
    """An ensemble of two members, one of which builds on the other; run ids by name, and the submission's file."""
    pretrained = made("pretrain", {"start_run": ""}, member="bert")
    tuned = made("finetune", {"start_run": pretrained}, member="bert")
    boosted = made("finetune", {"start_runs": f"{pretrained},{tuned}"}, member="boosted")
    infer = {
        name: made("infer test", {"checkpoint_run": run}, member=name)
        for name, run in (("bert", tuned), ("boosted", boosted))
    }
    members = {f"infer_run/{name}": run for name, run in infer.items()}
    optimized = made("optimize", members)
    file = tmp_path / "submission.csv"
    file.write_text("Class,Segments\n3,a:0 b:5\n")
    fused = made("fuse test", {"optimize_run": optimized, **members}, submission_digest=submission_digest(file))
    return {"pretrain": pretrained, "finetune": tuned, "optimize": optimized, "fuse": fused, "file": str(file)}


def test_from_a_submission_back_to_every_run_its_data_and_its_code(
    line_up: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lineage(line_up["file"], json=True)
    tree = json.loads(capsys.readouterr().out)
    assert tree["run_id"] == line_up["fuse"]
    assert [part["member"] or part["stage"] for part in tree["upstream"]] == ["bert", "boosted", "optimize"]
    bert, boosted, _ = tree["upstream"]
    assert bert["upstream"][0]["upstream"][0]["run_id"] == line_up["pretrain"]
    assert [part["stage"] for part in boosted["upstream"][0]["upstream"]] == ["pretrain", "finetune"]
    assert (bert["data_digest"], len(bert["commit"])) == ("d" * 64, len(tree["commit"]))
    lineage(line_up["fuse"])
    printed = capsys.readouterr().out
    for text in (
        f"ensemble demo fuse test  run {line_up['fuse']}",
        f"bert pretrain  run {line_up['pretrain']}",
        "dddddddd",
    ):
        assert text in printed


def test_a_compressed_submission_is_known_and_a_changed_one_is_not(line_up: dict[str, str], tmp_path: Path) -> None:
    file = Path(line_up["file"])
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert submission_digest(packed) == submission_digest(file)
    file.write_text(file.read_text().replace("b:5", "b:10"))
    with pytest.raises(ValueError, match=r"no run of the store has written .*submission\.csv: it was changed since"):
        lineage(str(file))


def test_a_run_that_is_gone_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    tuned = made("finetune", {"start_run": "0" * 32}, member="bert")
    assert origin_of(tuned).upstream[0].record is None
    lineage(tuned)
    assert f"{'0' * 32}: not in the store any more" in capsys.readouterr().out
