"""The limits of configured values: a value beyond its limit is refused in one sentence when the config is made."""

from collections.abc import Collection


def at_least(config: object, least: float, **values: float) -> None:
    """ValueError with the first of `values` below `least` (or not a number); `config` is what they belong to."""
    for name, value in values.items():
        if not value >= least:
            _refuse(config, name, value, f"give at least {least}")


def at_most(config: object, most: float, **values: float) -> None:
    """ValueError with the first of `values` above `most`."""
    for name, value in values.items():
        if not value <= most:
            _refuse(config, name, value, f"give at most {most}")


def above(config: object, bound: float, **values: float) -> None:
    """ValueError with the first of `values` that does not exceed `bound`."""
    for name, value in values.items():
        if not value > bound:
            _refuse(config, name, value, f"give more than {bound}")


def below(config: object, bound: float, **values: float) -> None:
    """ValueError with the first of `values` that is not less than `bound`."""
    for name, value in values.items():
        if not value < bound:
            _refuse(config, name, value, f"give less than {bound}")


def one_of(config: object, choices: Collection[str], **values: str) -> None:
    """ValueError with the first of `values` that is not among `choices`."""
    for name, value in values.items():
        if value not in choices:
            _refuse(config, name, repr(value), f"choose one of {', '.join(choices)}")


def _refuse(config: object, name: str, value: object, remedy: str) -> None:
    raise ValueError(f"{type(config).__name__}: {name} is {value}; {remedy}")
