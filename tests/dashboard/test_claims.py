"""The paper's claims beside ours."""

import pytest

from dashboard import claims, data
from tests.dashboard.seeding import MEMBERS
from tests.dashboard.test_pages import opened, words
from tracking.runs import PUBLISHED_MAP, find_run
from tracking.store import client

FINETUNING, SHIFTS, ENSEMBLE = claims.CLAIMS


@pytest.fixture
def of_paper(seeded: str) -> str:
    """The seeded line-up with what training logs of the paper's members: one that it lacks has no such tag."""
    for name, published in (("bert-l2h12-mean", 0.7725), ("gated-netvlad", 0.7556)):
        client().set_tag(find_run("synthetic", member=name, kind="member").run_id, PUBLISHED_MAP, f"{published:.4f}")
    return seeded


def test_a_claim_has_the_papers_figures_and_ours(of_paper: str) -> None:
    table = claims.claims(data.line_up("synthetic", "demo"))
    paper, ours = (table.filter(where=where) for where in (claims.PAPER, claims.HERE))
    assert paper.filter(claim=ENSEMBLE).select("before", "after").rows() == [(0.7725, 0.7871)]
    assert dict(ours.filter(claim=FINETUNING).select("subject", "after").rows()) == {
        name: finetuned for name, (_, pretrained, finetuned, *_) in MEMBERS.items() if pretrained is not None
    }
    assert set(ours.filter(claim=SHIFTS)["subject"]) == {"bert-l2h12-mean", "gated-netvlad"}  # the other has one shift
    assert ours.filter(claim=ENSEMBLE).select("before", "after").rows() == [(0.6845, 0.7103)]
    for before, after, gain in table.select("before", "after", "gain").iter_rows():
        assert gain == pytest.approx(after - before)
    assert claims.verdicts(table) == {FINETUNING: (2, 2), SHIFTS: (2, 2), ENSEMBLE: (1, 1)}


def test_the_page_labels_the_other_dataset(of_paper: str) -> None:
    app = opened("claims", dataset="synthetic", lineup="demo")
    assert f"**{FINETUNING}**: holds here in 2 of 2 cases." in words(app)
    assert "on YouTube-8M Segments; ours are MAP@100K on the holdout of synthetic, another dataset" in words(app)
    assert app.dataframe[1].value["member"].to_list() == ["bert-l2h12-mean", "gated-netvlad"]
    assert app.dataframe[1].value["map"].to_list() == [0.6871, 0.6312]


def test_a_line_up_without_published_figures_says_so(seeded: str) -> None:
    app = opened("claims", dataset="synthetic", lineup="demo")
    assert "nothing to compare" in words(app)
    assert not app.dataframe
