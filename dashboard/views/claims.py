"""The page of the paper's claims: what it found on YouTube-8M beside what this line-up shows on its own data."""

import streamlit as st

from dashboard import claims, data
from dashboard.chosen import line_up
from dashboard.parts import plain, show_table


def show(lineup: data.LineUp) -> None:
    st.title("Claims")
    if not claims.has_published(lineup):
        st.info("The paper has no figures of the members of this line-up, so there is nothing to compare.")
        return
    table = claims.claims(lineup)
    lines = [
        f"- **{claim}**: {'not measured here yet' if not count else f'holds here in {agree} of {count} cases'}."
        for claim, (agree, count) in claims.verdicts(table).items()
    ]
    st.markdown("\n".join(lines))
    st.caption(claims.about(plain(lineup.dataset)))
    score = st.column_config.NumberColumn
    show_table(
        table,
        {
            "claim": st.column_config.TextColumn("Claim", width="large"),
            "where": "Where",
            "subject": "Measured on",
            "before": score("Before", format="%.4f", help="Pre-trained, without a shift, or the best member"),
            "after": score("After", format="%.4f", help="Fine-tuned, with all shifts merged, or the ensemble"),
            "gain": score("Gain", format="%+.4f"),
        },
        name="claims",
        alt="Each claim in the paper and here",
    )
    st.subheader("The paper's members")
    st.caption("In the paper's order. Weights are shares of all members of either ensemble.")
    show_table(
        claims.members(lineup),
        {
            "member": st.column_config.TextColumn(claims.TITLES["member"], pinned=True),
            **{name: score(claims.TITLES[name], format="%.4f") for name in ("published", "map")},
            **{name: score(claims.TITLES[name], format="percent") for name in ("published_weight", "weight")},
        },
        name="published-members",
        alt="MAP and weight of each member in the paper and here",
    )


if __name__ == "__main__":
    show(line_up())
