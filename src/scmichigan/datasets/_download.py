"""Files of other people: downloaded once, checked, and kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("scmichigan")

_N_RETRIES = 3


@dataclass(frozen=True)
class RemoteFile:
    """A file and where it is.

    Parameters
    ----------
    name
        Under which it is kept.
    url
        Where it is downloaded from.
    sha256
        What it must have; ``None`` where nobody has published it, and the one that came is logged.
    """

    name: str
    url: str
    sha256: str | None = None


def cache_folder(folder: Path | str | None) -> Path:
    """The folder that was given, or that of this package among the user's caches."""
    return Path(_pooch().os_cache("scmichigan")) if folder is None else Path(folder)


def fetch(file: RemoteFile, folder: Path) -> Path:
    """Path of the file, which is downloaded where it is not there yet.

    Raises
    ------
    ImportError
        If pooch is not installed.
    ConnectionError
        If it cannot be downloaded; the message says what to put where by hand.
    ValueError
        If it is not the file that was expected.
    """
    pooch = _pooch()
    path = folder / file.name
    is_new = not path.exists()
    expected = None if file.sha256 is None else f"sha256:{file.sha256}"
    files = pooch.create(
        path=folder,
        base_url="",
        registry={file.name: expected},
        urls={file.name: file.url},
        retry_if_failed=_N_RETRIES,
    )
    try:
        files.fetch(file.name, progressbar=True)
    except OSError as error:
        raise ConnectionError(
            f"{file.name} could not be downloaded from {file.url} ({error}): try again with a connection, or download it "
            f"elsewhere and put it to {path}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"what {file.url} gives is not the {file.name} with SHA-256 {file.sha256}: it was changed, or a proxy answered; "
            f"download it by hand, look at it, and put it to {path}"
        ) from error
    if is_new and file.sha256 is None:
        logger.info("%s from %s has SHA-256 %s", file.name, file.url, pooch.file_hash(str(path)))
    return path


def _pooch():
    try:
        import pooch  # an extra: most users bring their own cells
    except ImportError as error:
        raise ImportError("data sets are downloaded with pooch, which is not installed: pip install pooch") from error
    return pooch
