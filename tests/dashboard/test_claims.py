"""The paper's claims beside ours."""

import pytest

from dashboard import claims, data
from scoring.paper import MEMBERS as MEMBERS_OF_PAPER
from tests.dashboard.seeding import MEMBERS
from tests.dashboard.test_pages import opened, words
from tracking.runs import PAPER_NAME, PUBLISHED_MAP, find_run
from tracking.store import client

FINETUNING, SHIFTS, ENSEMBLE = claims.CLAIMS


@pytest.fixture
def of_paper(seeded: str) -> str:
    """The seeded line-up with what training logs of the paper's members: one that it lacks has no such tag."""
    for name in ("bert-l2h12-mean", "gated-netvlad"):
        run_id = find_run("synthetic", member=name, kind="member").run_id
        client().set_tag(run_id, PAPER_NAME, MEMBERS_OF_PAPER[name].name)
        client().set_tag(run_id, PUBLISHED_MAP, f"{MEMBERS_OF_PAPER[name].private:.4f}")
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
    assert [header.value for header in app.subheader][:3] == [FINETUNING, SHIFTS, ENSEMBLE]
    assert "Higher here in **2 of 2** cases." in words(app)
    assert "on YouTube-8M Segments; ours are MAP@100K on the holdout of synthetic, another dataset" in words(app)
    members = app.dataframe[3].value
    assert members["member"].to_list() == ["bert-l2h12-mean", "gated-netvlad"]
    assert members["paper_name"].to_list() == ["BERTMean(L2h12)", "GatedNetVLAD(H1024C16)"]
    assert members["map"].to_list() == [0.6871, 0.6312]
    assert members["published_weight"].to_list() == pytest.approx([15.428, 0.218])
    assert members["weight"].to_list() == pytest.approx([47.0, 18.0])


def test_a_line_up_without_published_figures_says_so(seeded: str) -> None:
    app = opened("claims", dataset="synthetic", lineup="demo")
    assert "nothing to compare" in words(app)
    assert not app.dataframe
