"""Which stage a member's work is: the digest changes with what a result depends on, and with nothing else."""

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import cast

import pytest

from training.fit.options import TorchOptions
from training.job import Job
from training.member import Member
from training.members import member_of
from training.windows.sampler import Sampler
from videos.store import FrameStore

DESCRIPTIVE = {"paper_name", "published_map"}
# What a stage does not look at; infer depends on the rest through the finetune run, whose member it must be.
IGNORED = {
    "pretrain": {"finetune", "shifts", "prior"} | DESCRIPTIVE,
    "finetune": {"pretrain", "shifts"} | DESCRIPTIVE,
    "infer": DESCRIPTIVE,
}
BERT = member_of("paper", "bert-l2h12-mean")
WITHOUT = replace(BERT, pretrain=None)  # only then can it start from another member's weights
CHANGED = {
    "name": "another",
    "config": replace(BERT.config, layers=3),
    "shifts": (0,),
    "sampler": Sampler("frames", frames=7),
    "pretrain": BERT.pretrain,
    "finetune": replace(BERT.finetune, steps=7),
    "paper_name": "Another",
    "published_map": 0.5,
    "seed": 7,
    "prior": 0.1,
    "pretrained_as": "another/member",
    "finetuned_as": "another/member",
}


def job(member: Member, data: str = "d" * 64, **options) -> Job:
    store = SimpleNamespace(dataset=SimpleNamespace(digest=data, name="tiny"))
    return Job(lineup="paper", member=member, store=cast(FrameStore, store), options=TorchOptions(**options))


@pytest.mark.parametrize(
    ("lineup", "name", "digests"),
    [
        ("paper", "bert-l2h12-mean", ("4115f35cba284f75", "aaaff6e9a2188c85", "5ace37ace52c570e")),
        ("paper", "gated-netvlad", ("caf93b5f498125f6", "eb782a9bd7d84966", "a85f517800c6c470")),
        ("beyond", "boosted", ("05197f0a9e862450", "d059f32b5f945ec5", "60a3475a1ff88ee9")),
    ],
)
def test_stages_of_earlier_versions_are_still_found(lineup: str, name: str, digests: tuple[str, str, str]) -> None:
    """Except pretrain and infer of the paper's members before they validated every 10,000 steps of pre-training, and
    those of `boosted` when the class was one of its features."""
    own = job(member_of(lineup, name))
    stages = (
        own.stage("pretrain"),
        own.stage("finetune", "a" * 32),
        own.stage("infer", "b" * 32, split="holdout"),
    )
    assert tuple(stage.digest for stage in stages) == digests


@pytest.mark.parametrize("stage", IGNORED)
def test_a_digest_changes_with_every_field_that_the_stage_looks_at(stage: str) -> None:
    assert CHANGED.keys() == {field.name for field in fields(Member)}
    plain = job(WITHOUT).digest(stage)
    ignored = {
        field for field, value in CHANGED.items() if job(replace(WITHOUT, **{field: value})).digest(stage) == plain
    }
    assert ignored == IGNORED[stage]


@pytest.mark.parametrize("stage", IGNORED)
def test_a_digest_changes_with_data_upstream_and_split(stage: str) -> None:
    own = job(BERT)
    others = [own.stage(stage, "a"), own.stage(stage, "b"), own.stage(stage, "a", split="test"), own.stage(stage)]
    digests = {job(BERT, data="e" * 64).stage(stage).digest, *(other.digest for other in others)}
    assert len(digests) == 5


def test_only_options_that_change_results_change_a_digest() -> None:
    def digests(name: str, **options) -> tuple[str, str]:
        own = job(member_of("paper", name), **options)
        return own.digest("pretrain"), own.digest("infer")

    plain = digests(BERT.name)
    assert digests(BERT.name, compile=True, device="cpu") == plain
    half = digests(BERT.name, precision="bf16")
    assert (half[0] != plain[0], half[1] == plain[1]) == (True, True)
    assert digests("gated-netvlad", precision="bf16") == digests("gated-netvlad")  # Keras takes no notice


def test_the_runs_of_a_member_of_the_paper_carry_what_was_published_of_it() -> None:
    tags = job(BERT).stage("pretrain").parent.tags
    assert (tags["paper_name"], tags["published_map"]) == ("BERTMean(L2h12)", "0.7725")
    assert not {"paper_name", "published_map"} & set(job(member_of("beyond", "boosted")).stage("finetune").parent.tags)
