"""What `python -m training members` prints."""

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from training.listing import PAPER, SIZES, parameters, print_members
from training.members import LINE_UPS, line_up, member_of
from training.models.gated_netvlad import GatedNetVladConfig

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = {  # spec of the original: trainable parameters, to the unit
    "gated-netvlad": 117_175_190,
    "bert-l2h12-concat": 269_515_118,
    "bert-cross-l2h8-mean": 72_712_558,
    "bert-l3h12-concat": 281_914_862,
    "bert-cross-l2h8-attention": 72_713_710,
    "bert-l2h12-first": 73_758_062,
    "mix-nextvlad-300": 235_935_273,
    "mix-nextvlad-60": 235_935_273,
    "bert-l2h12-mean": 73_758_062,
}

NEAR, FURTHER, PAST = [-1, 0, 1], [-2, -1, 0, 1], [0, 1, 2]
TABLE = {  # framework, shifts, and private MAP@100K with them, as the paper's Table 3 has it
    "gated-netvlad": ("keras", NEAR, 0.7556),
    "bert-l2h12-concat": ("torch", NEAR, 0.7680),
    "bert-cross-l2h8-mean": ("torch", NEAR, 0.7680),
    "bert-l3h12-concat": ("torch", NEAR, 0.7688),
    "bert-cross-l2h8-attention": ("torch", NEAR, 0.7692),
    "bert-l2h12-first": ("torch", FURTHER, 0.7707),
    "mix-nextvlad-300": ("torch", NEAR, 0.7711),
    "mix-nextvlad-60": ("torch", PAST, 0.7721),
    "bert-l2h12-mean": ("torch", FURTHER, 0.7725),
}


def listed(lineup: str, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    print_members(lineup, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_the_paper_s_members_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    members = listed("paper", capsys)
    assert {member["name"]: member["parameters"] for member in members} == PUBLISHED
    assert all(list(m) == ["name", "framework", "parameters", "shifts", "published_map"] for m in members)
    assert {m["name"]: (m["framework"], m["shifts"], m["published_map"]) for m in members} == TABLE


def test_beyond_adds_members_that_nobody_published(capsys: pytest.CaptureFixture[str]) -> None:
    paper, beyond = listed("paper", capsys), listed("beyond", capsys)
    assert beyond[:9] == paper
    parameters = {member["name"]: member["parameters"] for member in beyond[9:]}
    assert parameters["context-aware"] > 10_000_000
    assert parameters["boosted"] is None
    assert {member["published_map"] for member in beyond[9:]} == {None}


def test_the_keras_member_is_counted_as_it_is_built() -> None:
    for lineup, name in (("demo", "gated-netvlad-h256"), ("audioset", "gated-netvlad")):
        member, size = member_of(lineup, name), SIZES[lineup]
        assert isinstance(member.config, GatedNetVladConfig)
        model = member.config.build(size.modalities, size.classes, size.segment_frames)
        assert parameters(member, size) == sum(v.shape.num_elements() for v in model.trainable_variables)
    assert parameters(member_of("paper", "gated-netvlad"), PAPER) == PUBLISHED["gated-netvlad"]


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_cut_on_a_terminal(columns: int) -> None:
    """A terminal of that width, as a person has it: names, parameters and published MAP stand there whole."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "training", "members", "--lineup", "beyond"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=slave, stdout=slave, env={**environment, "TERM": "xterm"}
    ) as process:
        os.close(slave)
        printed = b""
        with contextlib.suppress(OSError):  # what Linux says when the other end is closed
            while part := os.read(master, 4096):
                printed += part
    os.close(master)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())
    assert max(map(len, text.splitlines())) <= columns
    for member in line_up("beyond"):
        assert member.name in text
        assert member.paper_name in text
        if member.published_map:
            assert f"{PUBLISHED[member.name]:,}   {member.published_map:.4f}" in text


@pytest.mark.parametrize("lineup", LINE_UPS)
def test_every_member_has_a_row_wherever_it_is_printed(lineup: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_members(lineup, as_json=False)
    printed = capsys.readouterr().out
    for member in line_up(lineup):
        assert re.search(rf"^{member.name} ", printed, re.MULTILINE)
        assert member.paper_name in printed


def test_a_member_that_needs_pictures_is_left_out_of_sound(capsys: pytest.CaptureFixture[str]) -> None:
    print_members("audioset", as_json=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert "bert-cross-l2h8-mean is left out: BERTCross needs two modalities and there is only audio" in lines
    rows = {line.split()[0]: line for line in lines}
    assert {name for name, row in rows.items() if "left out" in row} == {
        "bert-cross-l2h8-mean",
        "bert-cross-l2h8-attention",
    }


@pytest.mark.parametrize("command", ["run", "pretrain", "members"])
def test_help_names_the_line_ups(command: str) -> None:
    command_line = [sys.executable, "-m", "training", command, "--help"]
    printed = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [name for name in LINE_UPS if not re.search(rf"\b{name}\b", printed)] == []


def test_the_command_prints_nothing_but_json() -> None:
    command = [sys.executable, "-m", "training", "members", "--lineup", "demo", "--json"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [member["name"] for member in json.loads(printed)] == [member.name for member in line_up("demo")]
