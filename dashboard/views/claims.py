"""The page of the paper's claims: what it found on YouTube-8M beside what this line-up shows on its own data."""

import polars as pl
import streamlit as st

from dashboard import claims, data
from dashboard.chosen import line_up
from dashboard.parts import plain, show_table


def show(lineup: data.LineUp) -> None:
    st.title("Claims")
    if not claims.has_published(lineup):
        st.info("The paper has no figures of the members of this line-up, so there is nothing to compare.")
        return
    st.caption(claims.about(plain(lineup.dataset)))
    table = claims.claims(lineup)
    score = st.column_config.NumberColumn
    for number, (claim, (agree, count)) in enumerate(claims.verdicts(table).items(), 1):
        st.subheader(claim)
        st.markdown("Not measured here yet." if not count else f"Higher here in **{agree} of {count}** cases.")
        show_table(
            table.filter(claim=claim).drop("claim"),
            {
                "where": "Where",
                "subject": "Measured on",
                "before": score("Before", format="%.4f", help="Pre-trained, without a shift, or the best member"),
                "after": score("After", format="%.4f", help="Fine-tuned, with all shifts merged, or the ensemble"),
                "gain": score("Gain", format="%+.4f"),
            },
            name=f"claim-{number}",
            alt=f"The paper and here: {claim}",
        )
    st.subheader("The paper's members")
    st.caption(
        "In the paper's order. A member here has the architecture of the paper's and can be smaller. Weights are "
        "shares of all members of either ensemble."
    )
    weights = ("published_weight", "weight")
    show_table(
        claims.members(lineup).with_columns(pl.col(weights) * 100),
        {
            "member": st.column_config.TextColumn(claims.TITLES["member"], pinned=True),
            "paper_name": claims.TITLES["paper_name"],
            **{name: score(claims.TITLES[name], format="%.4f") for name in ("published", "map")},
            **{name: score(f"{claims.TITLES[name]}, %", format="%.1f") for name in weights},
        },
        name="published-members",
        alt="MAP and weight of each member in the paper and here",
    )


if __name__ == "__main__":
    show(line_up())
