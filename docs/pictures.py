"""Takes the README's pictures into docs/figures, from `make dashboard` and `make ui` while they run: see --help.

It needs Chromium. Each picture is a WebP file of the first screen of a page.
"""

import argparse
import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parent / "figures"
WIDTH, HEIGHT = 1280, 900  # pixels of the window
SHOWN = 960  # pixels of the width of a picture
LARGEST = 150_000  # bytes of a picture
PAGES = ("overview", "members", "what_if")
READY = """document.querySelector('[data-testid=stApp]')?.dataset.testScriptState == 'notRunning'
    && !document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner], [data-stale=true]')"""


def take(page: "Page", name: str) -> None:
    """Save what `page` shows as docs/figures/<name>.webp; ValueError if it is too large for a README."""
    from PIL import Image

    page.wait_for_timeout(3000)  # charts and canvases are drawn after the page says that it is ready
    picture = Image.open(BytesIO(page.screenshot()))
    path = FOLDER / f"{name}.webp"
    picture.resize((SHOWN, round(picture.height * SHOWN / picture.width)), Image.Resampling.LANCZOS).save(
        path, quality=82, method=6
    )
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes; lower the quality or the height")
    print(f"{path}: {size:,} bytes")


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--lineup", default="demo")
    parser.add_argument("--dashboard", default="http://127.0.0.1:8501", help="address of the dashboard")
    parser.add_argument("--mlflow", default="http://127.0.0.1:5000", help="address of the MLflow UI")
    parser.add_argument("--experiment", default="1", help="id of the dataset's experiment in the MLflow UI")
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(120_000)
        for name in PAGES:
            page.goto(f"{given.dashboard}/{name}?{urlencode({'dataset': given.dataset, 'lineup': given.lineup})}")
            page.get_by_test_id("stHeading").first.wait_for()
            page.wait_for_function(READY)
            take(page, f"dashboard-{name.replace('_', '-')}")
        view = "viewStateShareKey=members&workflowType=machine_learning"
        page.goto(f"{given.mlflow}/#/experiments/{given.experiment}/runs?{view}")
        page.get_by_text("Columns").first.wait_for()
        page.get_by_role("button", name="Close", exact=True).click()  # the assistant
        page.get_by_role("button", name="Hide banner").click()
        take(page, "mlflow-runs")
        browser.close()


if __name__ == "__main__":
    main()
