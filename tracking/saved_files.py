"""Which files of a logged model can be loaded without running code that somebody has put into them.

Nothing that this project logs contains a pickle. `torch.export.save` adds one to a pt2 archive, of the sample inputs,
which is dropped; `torch.export.load` unpickles whatever an archive declares as pickled, so an archive is checked first.
"""

import json
import re
import zipfile
from pathlib import Path

# Files of a logged model: `registered_model_meta` is written by MLflow when it loads one.
NAMES = ("MLmodel", "registered_model_meta")
SAFE = (".json", ".yaml", ".txt", ".md", ".csv", ".keras", ".pt2", ".safetensors", ".npy", ".parquet", ".py")
RAW = re.compile(  # records of a pt2 archive that no reader unpickles, without the archive's name
    r"models/[^/]+\.json|data/(weights|constants)/[^/]+_config\.json|data/weights/weight_\d+|data/constants/tensor_\d+"
    r"|archive_format|archive_version|byteorder|version|\.data/version|\.data/serialization_id"
)
EXAMPLES = re.compile(r"data/sample_inputs/[^/]+\.pt")
ENDING = re.compile(r"byteorder|\.data/")  # records that the writer of an archive adds when it ends


def drop_examples(path: Path) -> None:
    """Empty the pickled sample inputs of a pt2 archive.

    The bytes are those that `torch.export.save` writes for a program without examples. Loading the program to save it
    again without them would take 0.8 s.
    """
    from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

    with PT2ArchiveReader(str(path)) as archive:
        records = {name: archive.read_bytes(name) for name in archive.get_file_names() if not ENDING.match(name)}
    with PT2ArchiveWriter(str(path)) as archive:
        for name, content in records.items():
            archive.write_bytes(name, b"" if EXAMPLES.fullmatch(name) else content)


def check_model(folder: Path) -> None:
    """ValueError with the file and the reason if loading the model in `folder` could unpickle something."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name in NAMES or path.suffix in SAFE:
            if path.suffix == ".pt2":
                _check_archive(path)
        else:
            raise _refused(path, "a file that no model of this project has")


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [record.filename for record in archive.infolist()]
            if len({name.partition("/")[0] for name in names}) > 1 or len(set(names)) < len(names):
                raise _refused(path, "several records of one name")
            for record in archive.infolist():
                name = record.filename.partition("/")[2]
                if EXAMPLES.fullmatch(name) and record.file_size:
                    raise _refused(path, f"the pickle {name}")
                if not (RAW.fullmatch(name) or EXAMPLES.fullmatch(name)):
                    raise _refused(path, f"the record {name}, which may be a pickle or machine code")
                if name.endswith("_config.json"):
                    for entry in json.loads(archive.read(record))["config"].values():
                        if entry["use_pickle"] is not False:
                            raise _refused(path, f"the pickle {entry['path_name']}")
    except (zipfile.BadZipFile, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise _refused(path, f"an archive of another format ({error})") from error


def _refused(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} is not loaded: it has {reason}, and loading a pickle runs any code in it; log the model again by "
        "training it with --force"
    )
