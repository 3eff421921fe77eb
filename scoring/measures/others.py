"""Measures other than MAP@K of judged segments, computed by ir_measures: AP, nDCG, P, Recall, Judged."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from scoring.lists.ranked import RankedLists, read_blocks
from scoring.measures.average_precision import Mode
from videos.judgments import Judgments

if TYPE_CHECKING:
    from ir_measures import Measure

EXAMPLES = "MAP, AP, nDCG@10, P@10, Recall@100, Judged@10"


def parse_measure(name: str, *, level: int) -> "Measure":
    """The measure of that name, with relevances of at least `level` as relevant; ValueError if there is none."""
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        if "rel" in measure.SUPPORTED_PARAMS and "rel" not in measure.params and level > 1:
            measure = measure(rel=level)
        supported = ir_measures.pytrec_eval.supports(measure) or ir_measures.judged.supports(measure)
    except (NameError, ValueError, AssertionError):
        supported = False
    if not supported or not isinstance(measure.aggregator(), ir_measures.MeanAgg):
        raise ValueError(f"--measure {name} is not a known measure; choose among {EXAMPLES}")
    return measure


def values_per_class(
    lists: RankedLists, judgments: Judgments, measures: Mapping[str, "Measure"], mode: Mode = "strict"
) -> pl.DataFrame:
    """The value of each measure on each judged class: class_id, and a column f64 per name in `measures`.

    Lists are not cut off. A judged class that the submission lacks counts 0 (`strict`) or is left out (`google`).
    """
    from ir_measures import Qrel, ScoredDoc, evaluator

    judged = {key[0]: rows for key, rows in judgments.pairs.partition_by("class_id", as_dict=True).items()}
    values = {class_id: {} for class_id in judged if mode == "strict" or class_id in set(lists.classes)}
    for block in read_blocks(lists):
        ranked = {class_id: codes for class_id, codes in block.ranked() if class_id in judged}
        names = {str(class_id): class_id for class_id in ranked}
        qrels = [
            Qrel(str(class_id), segment, relevance)
            for class_id in ranked
            for segment, relevance in judged[class_id].select("segment_id", "relevance").iter_rows()
        ]
        # Minus the rank as a score gives trec_eval the order of the list, without ties.
        run = [
            ScoredDoc(str(class_id), segment, -rank)
            for class_id, codes in ranked.items()
            for rank, segment in enumerate(block.segments.gather(codes).to_list(), start=1)
        ]
        for metric in evaluator(list(measures.values()), qrels).iter_calc(run) if run else ():
            values[names[metric.query_id]][metric.measure] = metric.value
    columns = {name: [row.get(measure, 0.0) for row in values.values()] for name, measure in measures.items()}
    classes = pl.Series("class_id", list(values), dtype=judgments.pairs["class_id"].dtype)
    return pl.DataFrame([classes, *(pl.Series(name, column, dtype=pl.Float64) for name, column in columns.items())])
