"""Weights that cannot be, as a flag and as a file: refused in one sentence."""

from pathlib import Path

import pytest

from tests.scoring.malformed.conftest import CSV, LONG, is_one_sentence, tree

WEIGHTS = {
    "negative": ("1,-1", '{"good": 1, "other": -1}', "other is -1"),
    "NaN": ("nan,1", '{"good": NaN, "other": 1}', "good is nan"),
    "infinite": ("1,inf", '{"good": 1, "other": Infinity}', "other is inf"),
    "too large a number": ("1,1e999", '{"good": 1, "other": 1e999}', "other is inf"),
    "all zero": ("0,0", '{"good": 0, "other": 0.0}', "sum to 0"),
    "an infinite sum": ("1e308,1e308", '{"good": 1e308, "other": 1e308}', "sum to inf"),
    "too small to count": ("1,1e-320", '{"good": 1, "other": 1e-320}', "other is too small"),
    "too few": ("1", '{"good": 1}', "1 numbers for 2|no weight for ['other']"),
    "too many": ("1,1,1", '{"good": 1, "other": 1, "third": 1}', "3 numbers for 2|no member for ['third']"),
    "words": ("1,b", '{"good": 1, "other": "b"}', "neither a .json file nor numbers|other is 'b'"),
    "none": (",", "{}", "neither a .json file nor numbers|no weights"),
}


@pytest.mark.parametrize("form", ["flag", "file"])
@pytest.mark.parametrize(("flag", "file", "complaint"), WEIGHTS.values(), ids=WEIGHTS)
def test_malformed_weights_are_refused(flag, file, complaint, form, scoring, files):
    Path("other.csv").write_bytes(CSV)
    Path("weights.json").write_text(f'{{"k": 5, "weights": {file}}}')
    before = tree(files)
    given = f"--weights={flag if form == 'flag' else 'weights.json'}"
    code, out, err = scoring("fuse", "good.csv", "other.csv", given, "--out", "fused.csv")
    assert (code, out) == (1, "")
    assert is_one_sentence(err), err
    assert any(words in err for words in complaint.split("|")), err
    assert tree(files) == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "weights.json is not JSON"),
        (b'{"k": 5, "weights": {"good": 1', "weights.json is not JSON"),
        (b"\xff\xfe", "weights.json is not JSON"),
        (LONG, "weights.json is not JSON"),
        (b'{"weights": {"good": 1, "other": 1}}', "k is None"),
        (b'{"k": -1, "weights": {"good": 1, "other": 1}}', "k is -1"),
        (b'{"k": 5, "weights": {"good": 1, "' + LONG + b'": 1}}', "no weight for ['other'], no member for ['xxx"),
        (b'{"k": 5, "weights": {"good": 1, "other": ' + b"9" * 400 + b"}}", "weights.json: other is 999"),
        (b'{"k": 5, "weights": {"good": 1, "other": ' + b"9" * 5000 + b"}}", "weights.json is not JSON"),
        (b'{"k": 5, "weights": {"good": 1, "other": 1, "good": 2}}', "good is given twice"),
        (b'{"k": 5, "weights": {"good": 1, "other": 1}, "interval": ["a", 1]}', "invalid objective or interval"),
    ],
    ids=[
        "empty",
        "truncated",
        "not UTF-8",
        "junk",
        "no k",
        "k too small",
        "a name of a million characters",
        "a weight of 400 digits",
        "a weight of 5,000 digits",
        "a member given twice",
        "no interval",
    ],
)
def test_a_malformed_weights_file_is_refused(content, complaint, scoring, files):
    Path("other.csv").write_bytes(CSV)
    Path("weights.json").write_bytes(content)
    code, out, err = scoring("fuse", "good.csv", "other.csv", "--weights", "weights.json", "--out", "fused.csv")
    assert (code, out) == (1, "")
    assert is_one_sentence(err), err[:2000]
    assert complaint in err
    assert not Path("fused.csv").exists()
