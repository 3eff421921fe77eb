"""What the paper published: MAP@100K on YouTube-8M Segments, public and private, in its Tables 1 to 3.

The weights of the members are those in the notebook of the 9th-place entry of the 3rd YouTube-8M challenge, divided by
their sum; Table 3 prints them divided by the sum without Gated NetVLAD (`percent`), so that its column sums to 100.2.
"""

from collections.abc import Mapping
from typing import NamedTuple

DATA = "YouTube-8M Segments"


class Published(NamedTuple):
    """MAP@100K on the public and on the private part of the test set."""

    public: float
    private: float


class PublishedMember(NamedTuple):
    """A row of Table 3: its name there, share of 1, printed percent, and MAP with its shifts merged."""

    name: str
    weight: float
    percent: float
    public: float
    private: float


# Table 1, without shifts: pre-trained alone, then fine-tuned.
TABLE_1 = {
    "MixNeXtVLAD": (Published(0.7411, 0.7315), Published(0.7739, 0.7639)),
    "BERT(L2h12)": (Published(0.7278, 0.7157), Published(0.7614, 0.7551)),
}
# Table 2: without shifts, then merged over -1 to 1.
TABLE_2 = {
    "MixNeXtVLAD": (Published(0.7739, 0.7639), Published(0.7809, 0.7711)),
    "BERT(L2h12)": (Published(0.7614, 0.7551), Published(0.7729, 0.7680)),
}
# Table 3.
MEMBERS = {
    "gated-netvlad": PublishedMember("GatedNetVLAD(H1024C16)", 0.00218, 0.22, 0.7629, 0.7556),
    "bert-l2h12-concat": PublishedMember("BERT(L2h12)", 0.02808, 2.81, 0.7729, 0.7680),
    "bert-cross-l2h8-mean": PublishedMember("BERTCrossMean(L2h8)", 0.04893, 4.90, 0.7748, 0.7680),
    "bert-l3h12-concat": PublishedMember("BERT(L3h12)", 0.13852, 13.88, 0.7751, 0.7688),
    "bert-cross-l2h8-attention": PublishedMember("BERTCrossAttn(L2h8)", 0.05957, 5.97, 0.7758, 0.7692),
    "bert-l2h12-first": PublishedMember("BERTFirst(L2h12)", 0.19631, 19.67, 0.7792, 0.7707),
    "mix-nextvlad-300": PublishedMember("MixNeXtVLAD(Iter 300)", 0.19988, 20.03, 0.7809, 0.7711),
    "mix-nextvlad-60": PublishedMember("MixNeXtVLAD(Iter 60)", 0.17227, 17.26, 0.7796, 0.7721),
    "bert-l2h12-mean": PublishedMember("BERTMean(L2h12)", 0.15428, 15.46, 0.7802, 0.7725),
}
ENSEMBLE_OF_ALL = Published(0.7944, 0.7871)

# The private figures: before and after.
Pair = tuple[float, float]
TRANSFER: Mapping[str, Pair] = {name: (one.private, other.private) for name, (one, other) in TABLE_1.items()}
SHIFTS: Mapping[str, Pair] = {name: (one.private, other.private) for name, (one, other) in TABLE_2.items()}
ENSEMBLE: Pair = (max(member.private for member in MEMBERS.values()), ENSEMBLE_OF_ALL.private)  # best member, ensemble


def published_weights(names: Mapping[str, str]) -> dict[str, float]:
    """Member -> the published share of the paper's member whose name `names` has for it, if the paper has one."""
    weights = {figures.name: figures.weight for figures in MEMBERS.values()}
    return {member: weights[name] for member, name in names.items() if name in weights}
