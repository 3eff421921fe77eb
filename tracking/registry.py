"""Registered models: one per member and one per ensemble of a line-up, whose versions are logged models.

The alias `best` belongs to the version with the highest MAP; who decides when it moves is
`scoring.tracked.ensemble_model`. Of a final refit, which has no MAP, the newest version has it. The alias `champion` is
set by people alone.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from tracking.store import answers, client, store_lock

BEST = "best"
ENSEMBLE_DIGEST = "ensemble_digest"  # tag of an ensemble's version and fuse runs: what its lists depend on


@dataclass(frozen=True, kw_only=True)
class Registered:
    """The registered model `name`, described by `about`, and a version of it, described by `note` and `tags`.

    A version that no judgments can measure becomes `best` because it is the newest one (`is_unmeasured`).
    """

    name: str
    about: str
    note: str
    tags: Mapping[str, str] = field(default_factory=dict)
    is_unmeasured: bool = False


@dataclass(frozen=True)
class Version:
    """A version of a registered model; `run_id` is the run that logged it."""

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.number}"


def registered_name(*parts: str) -> str:
    """The name of a registered model: dataset, line-up and member, with dots between them."""
    return ".".join(re.sub(r"[/:'\"]", "-", part) for part in parts)


def page(name: str) -> str:
    """A link to a registered model in the MLflow UI, for descriptions (Markdown)."""
    return f"[{name}](#/models/{quote(name)})"


def register(uri: str, run_id: str, registered: Registered) -> None:
    """Make the logged model at `uri` (`models:/m-...`) a version; without effect if it is one.

    The first version has the alias `best`.
    """
    store = client()  # takes the same lock when it opens the store
    with store_lock():  # of several processes that make a version at once, MLflow refuses some
        if any(version.run_id == run_id for version in versions(registered.name)):
            return
        if not store.search_registered_models(f"name = '{registered.name}'"):
            store.create_registered_model(registered.name, description=registered.about)
        model_id = uri.removeprefix("models:/")
        made = store.create_model_version(
            registered.name,
            # Not `uri`, which MLflow looks up in the process-wide store instead of this one.
            source=store.get_logged_model(model_id).artifact_location,
            run_id=run_id,
            tags=dict(registered.tags),
            description=registered.note,
            model_id=model_id,
        )
        # What MLflow's own `register_model` does: by it the UI links a logged model to its versions.
        link = [{"name": registered.name, "version": made.version}]
        store.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(link)})
        if registered.is_unmeasured or best_version(registered.name) is None:
            move_best(registered.name, str(made.version))


def versions(name: str) -> list[Version]:
    """The versions of a registered model, newest first; none if there is no such model."""
    with answers():
        entries = client().search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
    return [Version(name, str(made.version), made.run_id or "", made.tags or {}) for made in entries]


def version_of_run(name: str, run_id: str) -> Version | None:
    """The version that a run logged."""
    return next((version for version in versions(name) if version.run_id == run_id), None)


def best_version(name: str) -> Version | None:
    """The version with the alias `best`."""
    with answers():
        models = client().search_registered_models(f"name = '{name}'")
    number = models[0].aliases.get(BEST) if models else None
    return next((version for version in versions(name) if version.number == str(number)), None)


def move_best(name: str, number: str) -> None:
    with answers():
        client().set_registered_model_alias(name, BEST, number)


def address(name: str) -> str:
    """The `models:/` address of `NAME` (its version with the alias `best`), `NAME/VERSION` or `NAME@ALIAS`.

    ValueError with the names there are if no model has this name.
    """
    model = re.split("[/@]", name)[0]
    with answers():
        names = [known.name for known in client().search_registered_models()]
    if model not in names:
        known = f"there are {', '.join(sorted(names))}" if names else "there is none; fuse a line-up first"
        raise ValueError(f"there is no registered model {model}; {known}")
    return f"models:/{name}" if name != model else f"models:/{name}@{BEST}"
