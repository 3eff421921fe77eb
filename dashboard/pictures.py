"""Charts as SVG and PNG, drawn by vl-convert without a browser."""

import re
from io import BytesIO, StringIO

from dashboard.charts import Chart

WIDTH = 600  # pixels of a picture, without the labels of its rows
SCALE = 2  # pixels of a PNG per pixel of the chart


def file_name(alt: str) -> str:
    """The name of a picture's file, without its suffix, from what it shows."""
    return re.sub(r"\W+", "-", alt).strip("-").lower()[:80]


def svg(chart: Chart) -> str:
    text = StringIO()
    chart.properties(width=WIDTH).save(text, format="svg")
    return text.getvalue()


def png(chart: Chart) -> bytes:
    """On white, since labels are dark."""
    content = BytesIO()
    chart.properties(width=WIDTH).configure(background="white").save(content, format="png", scale_factor=SCALE)
    return content.getvalue()
