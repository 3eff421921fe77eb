"""An experiment in the MLflow UI: its note, and saved views of the run table with the columns that matter.

The run table has no metric columns until a user selects some. A saved view is a tag of the experiment: a name and the
state of the table (zlib, base64), opened by `viewStateShareKey` in the address.
"""

import base64
import json
import time
import zlib
from collections.abc import Sequence

from tracking import metrics

# The UI shows only the first line until the note is expanded.
NOTE = """\
Results on **{name}**: \
[runs]({runs}) · [members]({members}) · [ensembles]({ensembles})

- One row per **member** and per **ensemble**. Expand a row for its stages: pretrain, finetune, infer; merge, optimize,
  fuse.
- `pretrain/map`, `finetune/map` and `merged/map` are a member's MAP@100K on the holdout after each stage; `merged` is
  the fusion of all its shifts.
- `ensemble/map` is optimistic, because the same holdout chose the weights; `ensemble/cv` (cross-validated) is an
  estimate for new videos. `best one/map` is the best member alone, `all equal/map` the fusion with equal weights.
- The models are in the **Models** tab, each linked to the run that made it. The fine-tuned ones and the ensembles are
  versions of registered models; the alias `best` moves to a version that is better by more than chance explains.
"""

# Without it the UI guesses the kind of the experiment and asks the reader to confirm it.
KIND, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
COLUMN_WIDTH = 125  # pixels, for names of 13 characters

STAGES = [metrics.map_of(stage) for stage in (metrics.PRETRAINED, metrics.FINETUNED, metrics.MERGED)]
VIEWS = {  # name -> filter, columns of tags, columns of metrics
    # Without a filter, which would leave out the stages, each member and ensemble can be expanded.
    "runs": ("", ("lineup",), [*STAGES, metrics.map_of(metrics.ENSEMBLE)]),
    "members": (
        "tags.kind = 'member'",
        ("lineup", "framework"),
        STAGES,
    ),
    "ensembles": (
        "tags.kind != 'member' AND tags.kind != 'dataset'",
        ("lineup",),
        [
            metrics.map_of(metrics.ENSEMBLE),
            metrics.cross_validated(metrics.ENSEMBLE),
            metrics.map_of(metrics.BEST_MEMBER),
            metrics.map_of(metrics.EQUAL_WEIGHTS),
        ],
    ),
}


def tags(name: str, number: str) -> dict[str, str]:
    """The tags with the note and the saved views of the experiment `name`, whose id is `number`."""
    views = {f"mlflow.sharedViewState.{view}": _view(view, *VIEWS[view]) for view in VIEWS}
    note = NOTE.format(name=name, **{view: address(number, view) for view in VIEWS})
    return {KIND: MODEL_TRAINING, "mlflow.note.content": note, **views}


def address(number: str, view: str) -> str:
    """The address of a saved view (a name in VIEWS) of the experiment with the id `number`, within the MLflow UI."""
    return f"#/experiments/{number}/runs?viewStateShareKey={view}&workflowType=machine_learning"


def _view(name: str, search: str, tag_columns: Sequence[str], metric_columns: Sequence[str]) -> str:
    columns = [*(f"tags.`{tag}`" for tag in tag_columns), *(f"metrics.`{metric}`" for metric in metric_columns)]
    state = {
        "searchFilter": search,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": dict.fromkeys(columns, COLUMN_WIDTH),
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
    return json.dumps({"name": name.capitalize(), "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"})
