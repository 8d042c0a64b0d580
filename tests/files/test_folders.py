"""A folder is whole or not there, whatever ends its writing; what killed processes left of it goes."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from forgetctl.errors import RunError, UsageError
from forgetctl.files.folders import drafts_of, whole_folder
from forgetctl.files.writing import draft_prefix

WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from forgetctl.files.folders import whole_folder
with whole_folder(Path(sys.argv[1])) as draft:
    (draft / "half").write_text("half")
    print(draft, flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_filled_is_there_in_one_step_and_private(tmp_path: Path) -> None:
    place = tmp_path / "new" / "model"
    with whole_folder(place) as draft:
        (draft / "weights").write_bytes(b"1")
        assert not place.exists()
        assert draft.parent == place.parent
    assert names(place) == ["weights"]
    assert names(place.parent) == ["model"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_what_failed_leaves_nothing(tmp_path: Path) -> None:
    def fail(draft: Path) -> None:
        (draft / "weights").write_bytes(b"1")
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"), whole_folder(tmp_path / "model") as draft:
        fail(draft)
    assert names(tmp_path) == []


def test_only_what_may_be_replaced_is(tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / "old").write_bytes(b"1")
    with pytest.raises(RunError, match=r"model cannot be written: Directory not empty"), whole_folder(place) as draft:
        (draft / "new").write_bytes(b"2")
    assert names(place) == ["old"]
    with whole_folder(place, replace=True) as draft:
        (draft / "new").write_bytes(b"2")
    assert names(place) == ["new"]
    assert names(tmp_path) == ["model"]


def test_what_is_to_be_replaced_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / "old").write_bytes(b"1")
    with pytest.raises(ValueError, match="half way"), whole_folder(place, replace=True):
        raise ValueError("half way")
    assert names(place) == ["old"]


def test_a_full_disk_is_told_with_the_name_that_the_owner_gave(tmp_path: Path) -> None:
    place = tmp_path / "model"
    with pytest.raises(RunError) as caught, whole_folder(place):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value) == f"{place} cannot be written: no space left on the disk"


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"model cannot be made: File exists"), whole_folder(tmp_path / "file/model"):
        raise AssertionError("nothing can be filled")


def test_drafts_of_the_killed_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    place = tmp_path / "model"
    mine = tmp_path / f".{place.name}.draft"  # no draft of ours
    mine.mkdir()
    link = tmp_path / f"{draft_prefix(place)}link"
    link.symlink_to(mine, target_is_directory=True)
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(place)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, living = (Path(str(writer.stdout and writer.stdout.readline()).strip()) for writer in writers)
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        assert set(drafts_of(place)) == {killed, living, link}
        with whole_folder(place) as draft:
            assert set(drafts_of(place)) == {living, link, draft}
        assert drafts_of(place) == sorted([living, link])
        assert mine.is_dir()
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
