"""A program: streams a data set of the hub to the process that started it. It imports nothing of ours.

A process of its own, since `datasets` reads its settings when it is imported, patches modules while it streams, and
keeps the data set's card, and what it asked the hub for, in caches: this process has private ones, which go with it.
On stdin the data set as JSON; on stdout an answer a line: ["data set", commit], ["row", object, kinds of what JSON has
not, by field], ["end"], ["refused", why]. Messages of the libraries may quote rows, so none goes out.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

READABLE = frozenset(("arrow", "csv", "json", "parquet", "text"))
"""Builders of `datasets` that give rows of text. Others read media, archives and scientific formats."""
REASONS = {
    "RepositoryNotFoundError": "there is no such data set, or it is private (HF_TOKEN)",
    "GatedRepoError": "the data set is gated: accept its terms at the hub, and set HF_TOKEN",
    "RevisionNotFoundError": "the data set has no such revision",
    "OfflineModeIsEnabled": "the hub is switched off (HF_HUB_OFFLINE)",
    "EmptyDatasetError": "the data set holds no file of rows",
    "DataFilesNotFoundError": "the data set holds no file of rows",
    "ConnectError": "the hub cannot be reached",
    "ConnectTimeout": "the hub cannot be reached",
    "ReadTimeout": "the hub does not answer",
}
"""What exceptions of the libraries say, by their names."""


class RefusedError(Exception):
    """Why a data set is not read, in one line."""


def answers(repository: str, configuration: str | None, revision: str | None, split: str | None) -> Iterator[list[Any]]:
    """The answers for a data set. Raises RefusedError, and whatever the libraries do."""
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(repository, revision=revision)
    if any(file.rfilename == f"{repository.partition('/')[2]}.py" for file in info.siblings or ()):
        raise RefusedError("is a script, and nothing of a data set is executed")
    commit = str(info.sha)
    yield ["data set", commit]
    for row in _rows(repository, configuration, commit, split):
        kinds = {name: kind for name, value in row.items() if (kind := other_kind(value))}
        yield ["row", {name: _json(value) for name, value in row.items() if name not in kinds}, kinds]
    yield ["end"]


def _rows(repository: str, configuration: str | None, commit: str, split: str | None) -> Iterator[dict[str, Any]]:
    import datasets

    names = datasets.get_dataset_config_names(repository, revision=commit)
    known = configuration or datasets.get_dataset_default_config_name(repository, revision=commit)
    if known not in names:
        what = f"has no configuration {configuration}" if configuration else "has several configurations"
        raise RefusedError(f"{what}; name one of {', '.join(names)}, as in hf://{repository}/{names[0]}")
    builder = datasets.load_dataset_builder(repository, known, revision=commit)
    if (kind := type(builder).__module__.rpartition(".")[2]) not in READABLE:
        raise RefusedError(f"holds {kind}, of which nothing is a row of text")
    splits = [str(name) for name in builder.config.data_files or ()]
    if split is None and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        what = "has several splits" if split is None else f"has no split {split}"
        raise RefusedError(f"{what}; name one of {', '.join(splits)}, as in hf://{repository}@{commit[:8]}:{splits[0]}")
    rows = builder.as_streaming_dataset(split=split)
    # Media are only named, and decoded nowhere; where columns have no types yet, there are none.
    yield from rows if rows.features is None else rows.decode(False)


def other_kind(value: object) -> str | None:
    """What a value is that JSON has not, or None for one of JSON's."""
    if isinstance(value, dict):
        if set(value) == {"bytes", "path"}:
            return "images, sound or other media"
        return next(filter(None, map(other_kind, value.values())), None)
    if isinstance(value, list):
        return next(filter(None, map(other_kind, value)), None)
    return None if value is None or isinstance(value, str | bool | int | float) else type(value).__name__


def _json(value: object) -> object:
    """NaN and infinity, which JSON has not, as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """Answer for the data set on stdin."""
    try:
        for answer in answers(**json.load(sys.stdin)):
            print(json.dumps(answer), flush=answer[0] != "row")
    except RefusedError as error:
        print(json.dumps(["refused", str(error)]))
    except Exception as error:  # noqa: BLE001 (whatever it is, its message may quote rows)
        name = type(error).__name__
        print(json.dumps(["refused", REASONS.get(name, f"cannot be read ({name})")]))


if __name__ == "__main__":
    main()
