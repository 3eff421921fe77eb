"""The weights of the paper's final ensemble, for line-ups that have its members.

Normalised from the weights in the notebook of the 9th-place entry of the 3rd YouTube-8M challenge; the paper's Table 3
prints them normalised without Gated NetVLAD, so that its column sums to 100.2.
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


def published_weights(members: Iterable[str]) -> dict[str, float]:
    """The published share of each of these members that the paper has."""
    return {member: WEIGHTS[member] for member in members if member in WEIGHTS}
