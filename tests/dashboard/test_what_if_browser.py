"""The page What if in a real browser: slide, save, download."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.searched import EXPERIMENT, LINEUP, MEMBERS
from tests.dashboard.test_browser import SECONDS, chromium, dashboard, settled
from tracking.runs import find_run

__all__ = ["chromium"]


@pytest.fixture
def address(searched: str, tmp_path: Path) -> Iterator[str]:
    """A dashboard on the searched store."""
    with dashboard(tmp_path) as url:
        yield url


@pytest.mark.slow
def test_slide_save_and_download(address: str, chromium: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    pictures = Path(os.environ.get("PICTURES", tmp_path))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(SECONDS * 1000)
        expect.set_options(timeout=SECONDS * 1000)
        page.goto(f"{address}/what_if?dataset={EXPERIMENT}&lineup={LINEUP}")
        best = page.get_by_test_id("stMetric").first
        expect(best).to_contain_text("0.")
        page.get_by_role("button", name="Equal weights", exact=True).click()
        expect(page.get_by_test_id("stMetric").nth(1)).to_contain_text("+0.0000")

        slider = page.get_by_role("slider", name=MEMBERS[0])
        slider.focus()
        for _ in range(3):
            slider.press("ArrowLeft")
        expect(slider).to_have_value("0.97")
        page.wait_for_url("**%3A0.97**")  # the address shares the view
        page.screenshot(path=pictures / "what-if.png", full_page=True)

        page.get_by_text("Save as an ensemble").click()
        page.get_by_label("Name", exact=True).fill("less of the first")
        page.get_by_label("Who", exact=True).fill("Ann")
        page.get_by_label("Why", exact=True).fill("it is overrated")
        page.get_by_role("button", name="Save and fuse").click()
        expect(page.get_by_text("Saved as less of the first")).to_be_visible()
        settled(page)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the submission").click()
        submission = tmp_path / "submission.csv"
        download.value.save_as(submission)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        browser.close()
    parent = find_run(EXPERIMENT, kind="named")
    fused = find_run(EXPERIMENT, stage="fuse", split="test", ensemble="less of the first")
    assert fused.parent == parent.run_id
    assert submission.read_bytes() == fused.artifact("submission.csv").read_bytes()
