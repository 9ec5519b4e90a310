"""A folder of transcripts, as `nodectl collect` fills it and `nodectl check --from` reads it."""

from __future__ import annotations

import os
from pathlib import Path

from nodectl.probe.files import SUFFIX, TranscriptReadError, TranscriptWriteError
from nodectl.probe.transcript import Transcript


class TranscriptStore:
    """Saves transcripts, one file a node. The folder is made, for its owner only, if it is not there.

    Raises:
        TranscriptWriteError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            text = f"{folder}: the folder could not be made: {os.strerror(error.errno or 0)}; name another one"
            raise TranscriptWriteError(text) from error

    def save(self, transcript: Transcript) -> Path:
        """Gives the file's path.

        Raises:
            TranscriptWriteError: disk full, no permission, ...
        """
        return transcript.save(self._folder)


def read_folder(folder: Path) -> tuple[list[Transcript], list[str]]:
    """Every transcript of a folder (or the one in a file), in the order of the file names.

    A file that cannot be used becomes a line in the second list, and does not spoil the others; so does a node that
    two files speak of, of which the later one is kept.

    Raises:
        TranscriptReadError: the folder itself cannot be read.
    """
    try:
        paths = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else [folder]
    except OSError as error:
        raise TranscriptReadError(f"{folder}: could not be read: {os.strerror(error.errno or 0)}") from error
    found: dict[str, Transcript] = {}
    problems = []
    for path in paths:
        try:
            transcript = Transcript.load(path)
        except TranscriptReadError as error:
            problems.append(str(error))
            continue
        earlier = found.get(transcript.node)
        if earlier is not None:
            problems.append(f"{path}: a second transcript of {transcript.node}; the later one of the two is used")
            if earlier.started > transcript.started:
                continue
        found[transcript.node] = transcript
    return list(found.values()), problems
