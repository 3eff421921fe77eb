"""`python -m tracking promote`: a person declares a registered model the champion."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from tracking.registry import BEST
from tracking.store import answers, client
from tracking.writing import user_name

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"  # alias
# Tags of a model version.
BY, AT, WHY = "champion_by", "champion_at", "champion_why"


def promote(model: Annotated[Positional[str], arg(metavar="MODEL[/VERSION]")], why: str) -> None:
    """Give a registered model's version the alias `champion`, which nothing else moves; who, when and why are tags.

    Args:
        model: The name of a registered model; without a version, the one with the alias `best`, or else the newest.
        why: The reason, in a sentence.
    """
    if not why.strip():
        raise ValueError("--why is empty; give the reason for the promotion in a sentence")
    with answers():
        version = version_of(model)
        before = client().get_registered_model(version.name).aliases.get(CHAMPION)
        # The reason first: an alias without one would not say whose decision it is.
        for tag, value in ((BY, user_name()), (AT, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"), (WHY, why)):
            client().set_model_version_tag(version.name, version.version, tag, value)
        client().set_registered_model_alias(version.name, CHAMPION, version.version)
    earlier = f" in place of version {before}" if before and str(before) != str(version.version) else ""
    print(f"{version.name}: version {version.version} is the champion{earlier} (models:/{version.name}@{CHAMPION})")


def version_of(model: str) -> "ModelVersion":
    """The version that `NAME` or `NAME/VERSION` names; ValueError with the names or versions that exist."""
    from mlflow.exceptions import MlflowException

    name, _, number = model.rpartition("/") if model.rpartition("/")[2].isdigit() else (model, "", "")
    try:
        aliases = client().get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        names = ", ".join(sorted(entry.name for entry in client().search_registered_models()))
        raise ValueError(f"no model is registered as {name}; registered are: {names or 'none'}") from None
    escaped = name.replace("'", "''")
    versions = {int(entry.version): entry for entry in client().search_model_versions(f"name = '{escaped}'")}
    wanted = int(number or aliases.get(BEST) or max(versions, default=0))
    if wanted not in versions:
        known = ", ".join(map(str, sorted(versions))) or "none"
        raise ValueError(f"{name} has no version {wanted}; its versions are: {known}")
    return versions[wanted]
