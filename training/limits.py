"""What a configured value declares at its fields: limits, and whether earlier versions lacked the field.

Limits are types: `heads: Count = 12`, `pooling: Literal["mean", "concat"]`.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Limit:
    """`holds(value, bound)` must be true; it never is for NaN."""

    words: str
    holds: Callable[[float, float], bool]
    bound: float


def at_least(bound: float) -> Limit:
    return Limit("at least", operator.ge, bound)


Count = Annotated[int, at_least(1)]
Two = Annotated[int, at_least(2)]
Natural = Annotated[int, at_least(0)]
NonNegative = Annotated[float, at_least(0)]
Positive = Annotated[float, Limit("more than", operator.gt, 0)]
Share = Annotated[NonNegative, Limit("at most", operator.le, 1)]
PositiveShare = Annotated[Positive, Limit("at most", operator.le, 1)]
Decay = Annotated[Positive, Limit("less than", operator.lt, 1)]


class Limited:
    """Base of dataclasses: ValueError when one is made with a value beyond its field's limits or choices.

    None passes, so the limits of an optional field are those of its values.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for name, value in vars(self).items():
            allowed = get_args(hints[name])
            if get_origin(hints[name]) is Literal and value not in allowed:
                raise ValueError(f"{type(self).__name__}: {name} is {value!r}; choose one of {', '.join(allowed)}")
            for limit in allowed:
                if isinstance(limit, Limit) and value is not None and not limit.holds(value, limit.bound):
                    remedy = f"give {limit.words} {limit.bound}"
                    raise ValueError(f"{type(self).__name__}: {name} is {value}; {remedy}")


def later(default: Any) -> Any:
    """A field that earlier versions lacked: with this default it changes no result, and no stage's digest."""
    return field(default=default, metadata={"later": True})


def settings(configured: Any) -> Any:
    """`dataclasses.asdict`, without the fields that are `later` and have their default."""
    if not is_dataclass(configured):
        return configured
    return {
        one.name: settings(value)
        for one in fields(configured)
        if not ((value := getattr(configured, one.name)) == one.default and "later" in one.metadata)
    }
