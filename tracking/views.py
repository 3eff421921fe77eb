"""What a reader of the MLflow UI finds in an experiment: a note, and saved views with the columns that matter.

The table of runs shows no metric until somebody picks columns. A saved view is a tag of the experiment: a name and
the state of the table (zlib, base64), opened by `viewStateShareKey` in the address.
"""

import base64
import json
import time
import zlib
from collections.abc import Sequence

from tracking import metrics

# The UI shows the first line alone until somebody unfolds the rest.
NOTE = """\
Results on **{name}**: \
[members](#/experiments/{number}/runs?viewStateShareKey=members&workflowType=machine_learning) · \
[ensembles](#/experiments/{number}/runs?viewStateShareKey=ensembles&workflowType=machine_learning)

- One row a **member** and one an **ensemble**. Unfold it for its stages: pretrain, finetune, infer; merge, optimize,
  fuse.
- `pretrained/`, `finetuned/` and `merged/map_at_100k` are a member's MAP@100K on the holdout after each stage; `merged`
  is that of all its shifts together.
- `ensemble/map_at_100k` is optimistic, because the same holdout chose the weights; `ensemble/cross_validated_map` is
  what to expect on new videos.
- The models are in the **Models** tab, each linked to the run that made it.
"""

VIEWS = {
    "members": (
        "tags.kind = 'member'",
        (
            "tags.`lineup`",
            "tags.`framework`",
            *(
                f"metrics.`{metrics.map_of(stage)}`"
                for stage in (metrics.PRETRAINED, metrics.FINETUNED, metrics.MERGED)
            ),
        ),
    ),
    "ensembles": (
        "tags.kind = 'ensemble'",
        (
            "tags.`lineup`",
            f"metrics.`{metrics.map_of(metrics.ENSEMBLE)}`",
            f"metrics.`{metrics.cross_validated(metrics.ENSEMBLE)}`",
            f"metrics.`{metrics.map_of(metrics.BEST_MEMBER)}`",
            f"metrics.`{metrics.map_of(metrics.EQUAL_WEIGHTS)}`",
        ),
    ),
}


def tags(name: str, number: str) -> dict[str, str]:
    """The tags of the experiment `name` with the id `number` that hold its note and its saved views."""
    views = {f"mlflow.sharedViewState.{view}": _view(view.capitalize(), *VIEWS[view]) for view in VIEWS}
    return {"mlflow.note.content": NOTE.format(name=name, number=number), **views}


def _view(name: str, search: str, columns: Sequence[str]) -> str:
    state = {
        "searchFilter": search,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"})
