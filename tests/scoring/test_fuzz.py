"""Thousands of damaged files of every format, through every command.

A command either does its work, and its result equals a plain reading of the files (`plain.py`), or refuses in one
sentence that names a file, and leaves no output. It never ends in another exception.
"""

import gzip
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from scoring.fusion.fusion import MEMBER_K
from scoring.lists.ranking import rank_scores
from scoring.lists.writing import write_submission
from tests.scoring import plain
from tests.scoring.generated import judgments_of, submission_of
from videos.dataset import Dataset

LISTS = {1: ["a:5", "b:0", "c:0", "a:0"], 2: ["b:0", "a:0"], 31: ["c:0"], 4: []}
OTHER = {1: ["b:0", "d:0", "a:5"], 2: ["c:0", "b:0", "a:0"]}
RELEVANCE = {(1, "a:5"): 1, (1, "b:0"): 0, (2, "a:0"): 2, (2, "c:0"): 1, (31, "c:0"): 0}
RUN = "".join(
    f"{c} Q0 {segment} {rank} {10.5 - rank} tag\n" for c, own in LISTS.items() for rank, segment in enumerate(own, 1)
).encode()
QRELS = "".join(f"{c} 0 {segment} {grade}\n" for (c, segment), grade in RELEVANCE.items()).encode()
LIST_FILES = [
    *("x.csv", "x.csv.gz", "x.run", "x.run.gz", "x.parquet"),
    *("x/lists.parquet", "x/segments.parquet", "scored/lists.parquet"),
]
JUDGMENT_FILES = ["j.csv", "j.parquet", "j.qrels"]
OUTPUTS = ["out.csv", "out.csv.gz", "out.parquet", "out.run", "out.run.gz", "out"]
PIECES = [
    *(b"\0", b'"', b",", b"\n", b"\r", b"\r\n", b" ", b"\t", b"\xff", b"\xc2\xa0", b"\xef\xbb\xbf", b"\x1f\x8b"),
    *(b"-1", b"0", b"1.0", b"99999999999", b"1e999", b"nan", b"{", b"}", b":", b"null", b"PAR1", b"k", "é".encode()),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder with sound files of every format."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path.parent))
    for name in ("x.csv", "x.csv.gz", "x.parquet", "x"):
        write_submission(submission_of(LISTS), tmp_path / name)
    write_submission(submission_of(OTHER), tmp_path / "y.csv")
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], dtype=np.float32)
    for name in ("scored", "other_scored"):
        write_submission(rank_scores(scores, [1, 2], pl.Series(["a:5", "b:0", "c:0"])), tmp_path / name)
    for name, content in (("x.run", RUN), ("j.qrels", QRELS)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "x.run.gz").write_bytes(gzip.compress(RUN))
    judgments_of(RELEVANCE).write_csv("j.csv")
    judgments_of(RELEVANCE).write_parquet("j.parquet")
    (tmp_path / "w.json").write_text(json.dumps({"k": 5.0, "weights": {"x": 0.25, "y": 0.75}}))
    (tmp_path / "ids.txt").write_text("a:0\na:5\nb:0\nc:0\n")
    (tmp_path / "classes.txt").write_text("1\n2\n4\n31\n")
    (tmp_path / "p.csv").write_text("evaluation,map,seconds,w0,w1,w2\n1,0.5,0.0,6.0,30,10\n2,0.4,7,1.0,0,5\n")
    data = tmp_path / "data"
    data.mkdir()
    Dataset("tiny", {"rgb": 2}, "uint8", 5, True, 300, "roll", ["x", "y", "z"], [1, 2], "digest").write(data)
    videos = {"video_id": ["a", "b"], "split": ["test"] * 2, "file": ["f"] * 2, "first_frame": [0, 9], "frames": [9, 3]}
    pl.DataFrame(videos).write_parquet(data / "videos.parquet")
    return tmp_path


@dataclass(frozen=True)
class Case:
    """A command, and the check of its output if it succeeds."""

    args: list[str]
    check: Callable[[str], None] = lambda out: None


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes of bytes."""
    for _ in range(rng.integers(1, 4)):
        at, end = np.sort(rng.integers(0, len(content) + 1, size=2))
        end = min(end, at + rng.integers(1, 12))
        content = changes(content, int(at), int(end), rng)[rng.integers(6)]
    return content


def changes(content: bytes, at: int, end: int, rng: np.random.Generator) -> list[bytes]:
    before, middle, after = content[:at], content[at:end], content[end:]
    piece, kept = PIECES[rng.integers(len(PIECES))], len(content) - rng.integers(1, 2 + len(content) // 2)
    return [
        before + piece + middle + after,
        before + piece + after,
        before + after,
        before + middle * 2 + after,
        before + rng.bytes(len(middle)) + after,
        content[: max(0, kept)],
    ]


def damage_lines(content: bytes, rng: np.random.Generator) -> bytes:
    """Lines or fields moved, repeated or left out."""
    lines = content.split(b"\n")
    row, other = rng.integers(len(lines), size=2)
    fields = lines[row].replace(b",", b" ").split(b" ")
    field = rng.integers(len(fields))
    separator = b"," if b"," in lines[row] else b" "
    choice = rng.integers(5)
    if choice == 0:
        lines.insert(int(other), lines[row])
    elif choice == 1:
        lines[row], lines[other] = lines[other], lines[row]
    elif choice == 2:
        del lines[row]
    elif choice == 3:
        fields[field] = PIECES[rng.integers(len(PIECES))]
        lines[row] = separator.join(fields)
    else:
        lines[row] = separator.join([*fields[:field], *fields[field + 1 :]])
    return b"\n".join(lines)


CASTS = [
    *(pl.String, pl.Categorical, pl.Float64, pl.Float32, pl.Int8, pl.Int64, pl.UInt64, pl.Boolean, pl.Binary),
    *(pl.Date, pl.Null, pl.List(pl.String), pl.Struct({"a": pl.Int32})),
]
VALUES = [
    *(None, -1, 0, 2**31, 0.5, float("nan"), float("inf"), "", " ", "\u00a0a", "a b", "\n", "051", "1.0", b"\xff"),
    *([], [0, 0, 1], [None], [9]),
]


def damage_table(path: Path, rng: np.random.Generator) -> None:
    """Columns cast, renamed, left out or repeated; cells with other values; rows repeated or shuffled."""
    table = pl.read_parquet(path)
    name = table.columns[rng.integers(table.width)]
    column = table[name]
    choice = rng.integers(7)
    if choice == 0:
        to = CASTS[rng.integers(len(CASTS))]
        try:
            table = table.with_columns(column.cast(to, strict=False))
        except pl.exceptions.PolarsError:
            table = table.with_columns(pl.lit(None, dtype=to).alias(name))
    elif choice in (1, 2):
        cells = column.to_list()
        cells[rng.integers(len(cells))] = VALUES[rng.integers(len(VALUES))]
        try:
            table = table.with_columns(
                pl.Series(name, cells, dtype=column.dtype if choice == 1 else None, strict=choice == 2)
            )
        except (pl.exceptions.PolarsError, TypeError, OverflowError):  # a value that no column of this type has
            table = table.with_columns(column.shift(1))
    elif choice == 3:
        table = table.rename({name: name.upper()}) if rng.integers(2) else table.drop(name)
    elif choice == 4:
        table = pl.concat([table, table.sample(1, seed=int(rng.integers(1 << 30)))])
    elif choice == 5:
        table = table.sample(fraction=1.0, shuffle=True, seed=int(rng.integers(1 << 30)))
    else:
        table = table.clear() if rng.integers(2) else table.with_columns(pl.lit(1).alias("more"))
    try:
        table.write_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # a type that Parquet does not have
        path.write_bytes(b"")


def spoil(path: Path, rng: np.random.Generator) -> None:
    """Damage a file in its bytes or in its structure."""
    if path.suffix == ".parquet" and rng.integers(3):
        damage_table(path, rng)
        return
    content = path.read_bytes()
    packed = path.suffix == ".gz" and bool(rng.integers(2))
    content = gzip.decompress(content) if packed else content
    content = damage_lines(content, rng) if rng.integers(2) and path.suffix != ".parquet" else damage(content, rng)
    path.write_bytes(gzip.compress(content) if packed else content)


KINDS = {"lists": 0.52, "judgments": 0.2, "weights": 0.08, "texts": 0.07, "store": 0.07, "published": 0.06}


def case(rng: np.random.Generator) -> Case:
    """Damage a file of the working folder; the command that reads it."""
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    if kind == "lists":
        name = str(rng.choice(LIST_FILES))
        spoil(Path(name), rng)
        return list_case(name.partition("/")[0], rng)
    if kind == "judgments":
        name = str(rng.choice(JUDGMENT_FILES))
        spoil(Path(name), rng)
        if rng.integers(4) == 0:
            return Case(["compare", "x.csv", "y.csv", "--judgments", name])
        return evaluate_case(str(rng.choice(["x.csv", "x.run", "x.parquet", "x"])), name)
    if kind == "weights":
        spoil(Path("w.json"), rng)
        return Case(["fuse", "x.csv", "y.csv", "--weights", "w.json", "--out", str(rng.choice(OUTPUTS))])
    if kind == "texts":
        spoil(Path(rng.choice(["ids.txt", "classes.txt"])), rng)
        return Case(["check", "x.csv", "--ids", "ids.txt", "--classes", "classes.txt"])
    if kind == "store":
        spoil(Path(rng.choice(["data/videos.parquet", "data/dataset.json"])), rng)
        return Case(["check", "x.csv", "--data", "data"])
    spoil(Path("p.csv"), rng)
    return Case(["published", "p.csv"])


def list_case(name: str, rng: np.random.Generator) -> Case:
    choice = rng.integers(8)
    if choice == 0:
        return Case(["check", *rng.permutation(["x.csv", name])[:1], "--sample", name])
    if choice == 1:
        return Case(["compare", name, "y.csv", "--judgments", "j.csv"])
    if choice == 2 and name == "scored":
        return Case(["merge", name, "other_scored", "--by", "score", "--out", str(rng.choice(OUTPUTS))])
    if choice in (2, 3):
        return evaluate_case(name, str(rng.choice(JUDGMENT_FILES)))
    if choice == 4:
        return Case(["evaluate", name, "--judgments", "j.csv", "--measure", "AP", "nDCG@10"])
    members, out = [name, *rng.permutation(["y.csv", "other_scored"])[: rng.integers(3)]], str(rng.choice(OUTPUTS))
    cutoff = int(rng.choice([2, 1000]))
    members = {member.partition(".")[0] if not member.endswith(".run.gz") else "x.run": member for member in members}

    def check(_: str) -> None:
        read = {own: plain.read_lists(Path(member)) for own, member in members.items()}
        expected = plain.fuse(read, MEMBER_K, cutoff)
        if ".run" in out:
            expected = {class_id: ids for class_id, ids in expected.items() if ids}
        assert plain.read_lists(Path(out)) == expected

    return Case(["fuse", *members.values(), "--cutoff", str(cutoff), "--out", out], check)


def evaluate_case(name: str, judgments: str) -> Case:
    def check(out: str) -> None:
        expected = plain.mean_average_precision(plain.read_lists(Path(name)), plain.read_judgments(Path(judgments)))
        assert json.loads(out)["map"] == pytest.approx(expected, abs=1e-9)

    return Case(["evaluate", name, judgments, "--json"], check)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def restore(folder: Path, content: dict[Path, bytes]) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path not in content:
            path.unlink()
    for path, its in content.items():
        if not path.is_file() or path.read_bytes() != its:
            path.write_bytes(its)
    shutil.rmtree(folder / "out", ignore_errors=True)


def fuzz(seed: int, count: int, files: Path, scoring: Callable[..., tuple[int, str, str]]) -> None:
    """Run cases 0 to `count` of a seed; case n depends on the seed and n alone."""
    sound, wrong = snapshot(files), []
    for number in range(count):
        restore(files, sound)
        made = case(np.random.default_rng([seed, number]))
        before, began = snapshot(files), time.monotonic()
        code, out, err = scoring(*made.args)
        try:
            assert time.monotonic() - began < 60, "it takes too long"
            if code == 0 or (made.args[0] == "check" and out):
                made.check(out)
            else:
                check_refusal(code, out, err, made.args)
                assert snapshot(files) == before, "it leaves or changes a file"
        except Exception as error:
            wrong.append(f"case {number}: {' '.join(made.args)}\n{out}{err}{type(error).__name__}: {error}\n")
    assert not wrong, f"{len(wrong)} of {count} cases of the seed {seed}\n" + "\n".join(wrong[:30])


def check_refusal(code: int, out: str, err: str, args: list[str]) -> None:
    last = err.splitlines()[-1] if err else ""
    assert (code, out) == (1, ""), f"exit code {code}"
    assert last.startswith("error: "), "no sentence"
    assert "\n" not in last, "several lines"
    assert len(last) < 600, "a long sentence"
    assert not any(words in err for words in ("Traceback", "please report", "Errno")), "not a sentence of ours"
    assert any(Path(word).name in last for word in args), "no file is named"


@pytest.fixture
def published_is_not_logged(monkeypatch):
    from scoring.tracked import logs

    monkeypatch.setattr(logs, "log_published", lambda path, trials: SimpleNamespace(run_id="run", experiment="tests"))


def test_damaged_files_are_read_as_plainly_or_refused(scoring, files, published_is_not_logged):
    fuzz(seed=0, count=40, files=files, scoring=scoring)


TYPES = {"--json": bool, "--cutoff": int, "--by": str, "--weights": str}  # of flags that take no path


def call(commands: Mapping[str, Callable], prog: str, description: str, args: list[str]) -> None:
    """Call the command of a case as `_dispatch` does, without tyro, which takes three quarters of a case's time."""
    name, flags = args[0], [i for i, word in enumerate(args) if word.startswith("--")]
    given: dict[str, object] = {}
    for flag, end in pairwise([*flags, len(args)]):
        kind, values = TYPES.get(args[flag], Path), args[flag + 1 : end]
        given[args[flag][2:]] = tuple(values) if args[flag] == "--measure" else kind(*values or [True])
    paths = tuple(map(Path, args[1 : min([*flags, len(args)])]))
    commands[name](paths[0] if name in ("check", "published") else paths, **given)


@pytest.mark.slow
def test_two_thousand_damaged_files(scoring, files, published_is_not_logged, monkeypatch):
    monkeypatch.setattr("terminal.cli._dispatch", call)
    fuzz(seed=1, count=2_000, files=files, scoring=scoring)
