"""The dashboard as people see it: a server, a real browser, the main pages."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser that CHROMIUM names, or Debian's; without one the test skips, but never in CI."""
    path = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not Path(path).exists():
        if os.environ.get("CI"):
            pytest.fail(f"no Chromium at {path}; install it or set CHROMIUM")
        pytest.skip(f"no Chromium at {path}: set CHROMIUM to one to run this test")
    return path


@pytest.fixture
def address(seeded: str, tmp_path: Path) -> Iterator[str]:
    """A dashboard on the seeded store."""
    with dashboard(tmp_path) as url:
        yield url


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """The address of a dashboard as anybody starts it; its log is in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", f"--server.port={port}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=SECONDS)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.read() == b"ok":
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the dashboard did not start: {log.read_text()}")


def settled(page: "Page") -> None:
    """Wait until the script has ended: a click on a download of the run before is answered by nobody."""
    from playwright.sync_api import expect

    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.locator("[data-stale=true]")).to_have_count(0)


def test_both_pages_show_their_numbers(address: str, chromium: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.set_default_timeout(SECONDS * 1000)
        expect.set_options(timeout=SECONDS * 1000)
        outside = []
        page.on("request", lambda request: outside.append(request.url) if address[7:] not in request.url else None)

        page.goto(address)
        expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
        expect(page.get_by_test_id("stMetric").first).to_contain_text("0.7204")
        expect(page).to_have_url(f"{address}/overview?dataset=synthetic&lineup=demo")
        settled(page)
        with page.expect_download() as download:
            page.get_by_test_id("stDownloadButton").get_by_text("SVG").first.click()
        assert download.value.suggested_filename == "map-of-each-member-with-its-interval.svg"
        assert "bert-l2h12-mean" in download.value.path().read_text()
        with page.expect_download() as download:
            page.get_by_test_id("stDownloadButton").get_by_text("PNG").first.click()
        assert download.value.path().read_bytes().startswith(b"\x89PNG")

        page.goto(f"{address}/overview?dataset=audioset&lineup=audioset")  # a link that somebody sent
        expect(page.get_by_test_id("stMetric").first).to_contain_text("0.6312")
        expect(page).to_have_url(f"{address}/overview?dataset=audioset&lineup=audioset")

        page.goto(f"{address}/members")
        expect(page.get_by_role("heading", name="Members", exact=True)).to_be_visible()
        best = page.get_by_test_id("stMetric").first
        expect(best).to_contain_text("0.6871")
        expect(best).to_contain_text("bert-l2h12-mean")
        expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
        charts = page.locator("[data-testid=stVegaLiteChart][role=graphics-document]")
        expect(charts).to_have_count(3)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        expect(page).to_have_url(f"{address}/members?dataset=synthetic&lineup=demo")

        page.get_by_role("link", name="Ensemble").click()
        expect(page.get_by_role("heading", name="Ensemble", exact=True)).to_be_visible()
        expect(page).to_have_url(f"{address}/ensemble?dataset=synthetic&lineup=demo")
        expect(page.get_by_test_id("stMetric").filter(has_text="optimistic")).to_contain_text("0.7204")
        expect(page.get_by_test_id("stMetric").filter(has_text="MAP@100K, cross-validated")).to_contain_text("0.7103")
        expect(charts).to_have_count(3)
        expect(page.get_by_test_id("stException")).to_have_count(0)

        page.get_by_label("Dataset").first.click()
        page.get_by_role("option", name="audioset").click()
        expect(page.get_by_text("have not been fused yet")).to_be_visible()
        expect(page).to_have_url(f"{address}/ensemble?dataset=audioset&lineup=audioset")
        page.get_by_role("link", name="Compare").click()  # the line-up stays the same on the next page
        expect(page.get_by_text("have not been measured together yet")).to_be_visible()
        expect(page).to_have_url(f"{address}/compare?dataset=audioset&lineup=audioset")

        page.goto(f"{address}/members?dataset=audioset&lineup=audioset")  # a link that somebody sent
        expect(page.get_by_text("failed in fine-tuning").first).to_be_visible()
        expect(best).to_contain_text("0.6312")
        browser.close()
    assert [url for url in outside if url.startswith("http")] == [], "the dashboard must work offline"
