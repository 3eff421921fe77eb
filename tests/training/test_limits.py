"""What configured values declare at their fields."""

from dataclasses import asdict, dataclass, field

from training.limits import later, settings


@dataclass(frozen=True)
class Inner:
    width: int = 2
    depth: int = later(1)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    shifts: tuple[int, ...] = (0,)
    name: str = later("")


def test_a_field_that_came_later_counts_if_it_has_another_value() -> None:
    assert settings(Outer()) == {"inner": {"width": 2}, "shifts": (0,)}
    changed = Outer(inner=Inner(depth=3), name="b")
    assert settings(changed) == asdict(changed) == {"inner": {"width": 2, "depth": 3}, "shifts": (0,), "name": "b"}
