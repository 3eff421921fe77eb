from terminal.tables import table_text


def test_a_table_is_plain_and_complete_however_wide() -> None:
    name = "a-member-" + "x" * 300
    lines = table_text(("member", "MAP"), [("[bold]b[/bold]", "0.5"), (name, "0.25")]).splitlines()
    assert [line.split() for line in lines] == [["member", "MAP"], ["[bold]b[/bold]", "0.5"], [name, "0.25"]]
    assert len(lines[0]) == len(lines[1]) == len(lines[2])  # numbers are aligned to the right
    assert "\x1b" not in "".join(lines)
