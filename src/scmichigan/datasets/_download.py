"""Download of published files: once, with a check of what came."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

from pandas.errors import ParserError

logger = logging.getLogger("scmichigan")

_N_RETRIES = 3


@dataclass(frozen=True)
class RemoteFile:
    """A published file. Where its SHA-256 is ``None``, that of the downloaded file is logged."""

    name: str
    url: str
    sha256: str | None = None


def cache_folder(folder: Path | str | None) -> Path:
    """The given folder, or by default that of this package among the user's caches."""
    return Path(_pooch().os_cache("scmichigan")) if folder is None else Path(folder)


def fetch(folder: Path, *files: RemoteFile) -> list[Path]:
    """Paths of the files, downloaded if they are not in the folder. Errors as of :func:`pancreas`, and of making a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetch(file, folder, files[number:]) for number, file in enumerate(files, 1)]


def _fetch(file: RemoteFile, folder: Path, still_to_come: Sequence[RemoteFile]) -> Path:
    pooch = _pooch()
    path = folder / file.name
    is_new = not path.exists()
    registry = {file.name: None if file.sha256 is None else f"sha256:{file.sha256}"}
    files = pooch.create(folder, "", registry=registry, urls={file.name: file.url}, retry_if_failed=_N_RETRIES)
    try:
        files.fetch(file.name, progressbar=True)
    except OSError as error:
        wrong = "" if is_new else f"; the one that is there has another SHA-256 than {file.sha256}"
        others = [(other.url, folder / other.name) for other in still_to_come if not (folder / other.name).exists()]
        raise ConnectionError(
            f"{file.name} could not be downloaded from {file.url} ({error}): try again with a connection, or download it "
            f"elsewhere and put it to {path}{wrong}"
            + "".join(f"; {url} is needed, too: put it to {there}" for url, there in others)
        ) from error
    except ValueError as error:
        raise ValueError(
            f"what {file.url} gives is not the {file.name} with SHA-256 {file.sha256}: it was changed, or a proxy answered; "
            f"download it by hand, look at it, and put it to {path}"
        ) from error
    if is_new and file.sha256 is None:
        logger.info("%s from %s has SHA-256 %s", file.name, file.url, pooch.file_hash(str(path)))
    return path


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise a ``ValueError`` that names the file and the cure where it cannot be read, or lacks something."""
    try:
        yield
    except (OSError, EOFError, KeyError, BadZipFile, ParserError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not the file that was expected ({type(error).__name__}: {error}): remove it and try again, or put the "
            "right one there"
        ) from error


def _pooch():
    try:
        import pooch  # an extra: most users bring their own cells
    except ImportError as error:
        raise ImportError("data sets are downloaded with pooch, which is not installed: pip install pooch") from error
    return pooch
