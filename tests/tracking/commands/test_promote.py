import pytest

from tracking.commands.promote import promote
from tracking.store import client

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def registered(store: str) -> None:
    """The model `demo bert` with three versions; `best` is the second."""
    client().create_registered_model("demo bert")
    for _ in range(3):
        client().create_model_version("demo bert", source="file:///nowhere")
    client().set_registered_model_alias("demo bert", "best", "2")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("model", "version"), [("demo bert", "2"), ("demo bert/3", "3")])
def test_a_champion_has_who_when_and_why(
    model: str, version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    promote(model, why="wins on the new videos")
    champion = client().get_model_version_by_alias("demo bert", "champion")
    assert str(champion.version) == version
    assert (champion.tags["champion_by"], champion.tags["champion_why"]) == ("anna", "wins on the new videos")
    assert champion.tags["champion_at"].startswith("20")
    assert "models:/demo bert@champion" in capsys.readouterr().out
    promote("demo bert/1", why="the other was measured on half of the videos")
    assert client().get_model_version_by_alias("demo bert", "champion").version in (1, "1")
    assert f"in place of version {version}" in capsys.readouterr().out
    assert client().get_model_version_by_alias("demo bert", "best").version in (2, "2")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("model", "why", "sentence"),
    [
        ("demo", "x", "no model is registered as demo; registered are: demo bert"),
        ("demo bert/7", "x", "demo bert has no version 7; its versions are: 1, 2, 3"),
        ("demo bert", " ", "--why is empty; give the reason"),
    ],
)
def test_what_does_not_exist_or_has_no_reason_is_refused(model: str, why: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        promote(model, why=why)
    assert "champion" not in client().get_registered_model("demo bert").aliases
