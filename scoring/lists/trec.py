"""TREC runs (`topic Q0 document rank score tag`) and judgments (`topic 0 document relevance`), plain or gzip.

The topic is the class, the document the segment. Fields are separated by ASCII blanks.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
from polars.datatypes import DataTypeClass

from scoring.lists.classes import class_column
from scoring.lists.ids import code_ids
from scoring.lists.ranked import Repeats, Submission, class_slices, from_repeating
from scoring.lists.text import brief, create, map_text, read_text
from terminal.cli import counted

log = logging.getLogger(__name__)

RUN = "topic Q0 document rank score tag"
QRELS = "topic 0 document relevance"
SUFFIXES = (".run", ".run.gz", ".trec", ".trec.gz")
TAG = "fused"  # the last field of the runs that are written
BLANKS = bytes.maketrans(b"\t\r\v\f", b"    ")
BLANK = r"[ \t\r\n\v\f]"


def read_run(path: Path) -> Submission:
    """Read a run: the documents of each topic in trec_eval's order. The rank column is ignored.

    Documents order by score (float32) descending, equal scores by the document id's bytes, descending.
    """
    fields = _fields(path, RUN)
    scores = _cast(fields, "score", pl.Float64, path, "score is no number")
    if scores.is_nan().any():
        number = fields["line"][int(np.flatnonzero(scores.is_nan())[0])]
        raise ValueError(f"{path}, line {number}: score is NaN; a run needs numbers to rank by")
    (codes,), segments = code_ids([fields["document"]])
    rows = pl.DataFrame({"class_id": class_column(fields["topic"]), "code": codes, "score": scores.cast(pl.Float32)})
    rows = rows.sort("class_id", "score", "code", descending=[False, True, True])
    ranked = rows["code"].to_numpy()
    lists = {class_id: ranked[place] for class_id, place in class_slices(rows["class_id"]).items()}
    return from_repeating(lists, segments, Repeats(str(path)))


def write_run(blocks: Iterable[Submission], path: Path, *, tag: str = TAG, compressed: bool = False) -> None:
    """Write lists as a run, ranks from 1. The scores are those of the lists, if they have any.

    Readers order by score, some by float32, and equal scores in different ways: a score that is not below the one
    before it is lowered to the next float32. Without scores, the score falls by 1 per rank.

    A run has no line for a topic with nothing retrieved; a warning counts these. ValueError for an id, a topic or a tag
    with white space.
    """
    check_tag(tag)
    empty = 0
    with create(path, compressed) as run:
        for block in blocks:
            scores = block.lists["scores"] if "scores" in block.lists.columns else None
            for row, (topic, codes) in enumerate(block.ranked()):
                documents = block.segments.gather(codes)
                if documents.str.contains(BLANK).any() or re.search(BLANK, str(topic)):
                    raise ValueError(
                        f"{path.name}: topic {topic} has white space, itself or in an id, which a TREC run cannot "
                        "contain; write Parquet instead"
                    )
                if not len(codes):
                    empty += 1
                    continue
                ranks = np.arange(1, len(codes) + 1)
                falling = ranks[::-1] if scores is None else strictly_falling(scores[row].to_numpy())
                lines = pl.DataFrame({"document": documents, "rank": ranks, "score": falling}).select(
                    pl.lit(str(topic)), pl.lit("Q0").alias("Q0"), pl.all(), pl.lit(tag).alias("tag")
                )
                run.write(lines.write_csv(separator=" ", include_header=False, quote_style="never").encode())
    if empty:
        log.warning(
            "%s with nothing retrieved left out: a TREC run cannot contain a topic without documents",
            counted(empty, "topic"),
        )


def check_tag(tag: str) -> None:
    """ValueError unless the tag of a run is one word."""
    if not tag or re.search(BLANK, tag):
        raise ValueError(f"--tag is {brief(tag)!r}; a tag is one word")


def strictly_falling(scores: np.ndarray) -> np.ndarray:
    """Scores (f32, falling or equal), each lowered to the next float32 below the previous one if it is not below it."""
    bits = scores.astype(np.float32).view(np.int32).astype(np.int64)
    order = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # integers that order as the floats do
    steps = np.arange(len(order))
    order = np.minimum.accumulate(order + steps) - steps
    return np.where(order < 0, -order | 0x80000000, order).astype(np.uint32).view(np.float32)


def read_qrels(path: Path) -> pl.DataFrame:
    """The rows of a TREC judgments file: class_id u16 or str, segment_id str, relevance i16."""
    fields = _fields(path, QRELS)
    return pl.DataFrame(
        {
            "class_id": class_column(fields["topic"]),
            "segment_id": fields["document"],
            "relevance": _cast(fields, "relevance", pl.Int16, path, "relevance is no 16-bit integer"),
        }
    )


def fields_of_first_line(path: Path) -> int:
    """The number of fields of the first line that is not blank; 0 for a file that is no text."""
    with map_text(path) as content:
        head = content[: 1 << 16].lstrip().partition(b"\n")[0]
    return 0 if b"\0" in head else len(head.split())


def _fields(path: Path, meaning: str) -> pl.DataFrame:
    """The fields of each line that is not blank (String, named as in `meaning`), and its number, `line`."""
    names = meaning.split()
    text = b"\n" + read_text(path).encode().translate(BLANKS) + b"\n"
    if b"  " in text or b" \n" in text or b"\n " in text:
        text = re.sub(rb"(?<=\n) +| +(?=\n)| +(?= )", b"", text)
    # Starts with a line of all fields, since a blank first line is not counted; a field too many goes into `more`.
    text = b"x " * len(names) + b"x" + text.removesuffix(b"\n")
    schema = dict.fromkeys([*names, "more"], pl.String)
    table = pl.read_csv(
        text, separator=" ", has_header=False, quote_char=None, schema=schema, truncate_ragged_lines=True
    )
    table = table.with_row_index("line").slice(1).filter(pl.col(names[0]).is_not_null())
    if not table.height:
        raise ValueError(f"{path} has no lines; a line is `{meaning}`")
    wrong = table.filter(pl.col("more").is_not_null() | pl.col(names[-1]).is_null())
    if wrong.height:
        number = wrong["line"][0]
        count = len(text.split(b"\n", number + 1)[number].split())
        raise ValueError(f"{path}, line {number} has {count} fields; a line is `{meaning}`")
    return table.drop("more")


def _cast(fields: pl.DataFrame, name: str, dtype: DataTypeClass, path: Path, complaint: str) -> pl.Series:
    values = fields[name].cast(dtype, strict=False)
    if values.null_count():
        row = int(np.flatnonzero(values.is_null())[0])
        value = brief(fields[name][row])
        raise ValueError(f"{path}, line {fields['line'][row]}: the {complaint} ({value!r}); correct it")
    return values
