"""What the paper published, for line-ups that have its members: all MAP@100K are private ones on YouTube-8M Segments.

The weights are those in the notebook of the 9th-place entry of the 3rd YouTube-8M challenge, divided by their sum; the
paper's Table 3 prints them divided by the sum without Gated NetVLAD, so that its column sums to 100.2.
"""

from collections.abc import Iterable

WEIGHTS = {
    "bert-cross-l2h8-attention": 0.05957,
    "bert-cross-l2h8-mean": 0.04893,
    "bert-l2h12-concat": 0.02808,
    "bert-l2h12-first": 0.19631,
    "bert-l2h12-mean": 0.15428,
    "bert-l3h12-concat": 0.13852,
    "gated-netvlad": 0.00218,
    "mix-nextvlad-300": 0.19988,
    "mix-nextvlad-60": 0.17227,
}

DATA = "YouTube-8M Segments"
TRANSFER = {"MixNeXtVLAD": (0.7315, 0.7639), "BERT(L2h12)": (0.7157, 0.7551)}  # Table 1: pre-trained, fine-tuned
SHIFTS = {"MixNeXtVLAD": (0.7639, 0.7711), "BERT(L2h12)": (0.7551, 0.7680)}  # Table 2: without, merged over -1 to 1
ENSEMBLE = (0.7725, 0.7871)  # Table 3: best member, ensemble


def published_weights(members: Iterable[str]) -> dict[str, float]:
    """The published share of each of these members that the paper has."""
    return {member: WEIGHTS[member] for member in members if member in WEIGHTS}
