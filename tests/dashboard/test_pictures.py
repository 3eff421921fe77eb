"""Charts as files: every chart of a page can be downloaded, and looks as on the page."""

import struct

from dashboard import charts, data, pictures
from tests.dashboard.test_pages import opened


def test_a_chart_is_drawn_without_a_browser(seeded: str) -> None:
    chart = charts.stages(data.stage_scores(data.line_up("synthetic", "demo")))
    assert "Stage by stage" in pictures.svg(chart)
    content = pictures.png(chart)
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > pictures.SCALE * pictures.WIDTH
    assert height > 100


def test_every_chart_has_buttons_for_both_forms(seeded: str) -> None:
    for page in ("overview", "members", "ensemble"):
        app = opened(page)
        shown = len(app.get("vega_lite_chart"))
        labels = [button.proto.label for button in app.get("download_button")]
        assert shown
        assert labels.count("SVG") == labels.count("PNG") == shown, page


def test_a_file_has_a_name_that_every_system_accepts() -> None:
    assert pictures.file_name('AP of "a/b" \\ <c>: 1') == "ap-of-a-b-c-1"
    assert len(pictures.file_name("x" * 500)) == 80
