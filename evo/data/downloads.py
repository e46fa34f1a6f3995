"""Files of public datasets: where they are kept, how they are downloaded, and whether they have changed."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from evo.data.cache import Notify, cache_root
from evo.errors import ConfigurationError
from evo.files import remove_abandoned, temporary_folder
from evo.places import absolute, with_home

SOCKET_TIMEOUT_SECONDS = 30.0
_BLOCK_BYTES = 1 << 20


def default_root() -> Path:
    """Return where downloads are kept unless a data folder is given: `$EVO_DATA_DIR`, or `data` in the cache."""
    chosen = os.environ.get("EVO_DATA_DIR")
    return absolute(with_home(Path(chosen))) if chosen else cache_root() / "data"


def download(urls: Sequence[str], path: Path, target: Path, title: str, digest: str, notify: Notify) -> None:
    """Download a file, from the first of several places that answers.

    Args:
        urls: Where it is.
        path: Where to write it.
        target: Where a person would put it.
        title: The dataset's name for people.
        digest: What a person can check it by, as "MD5 …".
        notify: Called with one line of progress at a time.

    Raises:
        ConfigurationError: No place answers, or a connection ends early.
    """
    for place, url in enumerate(urls, start=1):
        try:
            _fetch(url, path, title, notify)
            return
        except (OSError, http.client.HTTPException) as error:
            if place < len(urls):
                continue
            raise ConfigurationError(
                f"cannot download {title} from {url}: {error}\n"
                "do one of these:\n"
                f"  - download it by hand to {target}\n"
                f"    ({digest})\n"
                "  - give --data-dir a folder of images, train/<class>/<image> and test/<class>/<image>\n"
                "  - use --dataset digits, which needs no download"
            ) from error


def _fetch(url: str, path: Path, title: str, notify: Notify) -> None:
    done = 0
    with urllib.request.urlopen(url, timeout=SOCKET_TIMEOUT_SECONDS) as response, path.open("wb") as file:  # noqa: S310  # our own list
        size = response.length or 0
        while block := response.read(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            if size and 10 * done // size > 10 * (done - len(block)) // size:
                notify(f"Downloaded {100 * done // size} % of {title}")
        if done < size:
            raise ConnectionError("the connection ended early")


def download_checked(urls: Sequence[str], target: Path, title: str, md5: str, notify: Notify) -> None:
    """Download a file to its place, which it gets when it is complete and has its checksum.

    Args:
        urls: See `download`; so for title and notify.
        target: Its place; the folder may be missing.
        title: The dataset's name for people.
        md5: What its MD5 must be.
        notify: Called with one line of progress at a time.

    Raises:
        ConfigurationError: There is no network, the file is not the expected one, or it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target)
        with temporary_folder(target) as folder:
            notify(f"Downloading {target.name} of {title} from {urls[0]} to {target.parent}")
            download(urls, folder / target.name, target, title, f"MD5 {md5}", notify)
            check_md5(folder / target.name, md5, f"it is not what {title} has published; download it again")
            (folder / target.name).replace(target)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {title} below {target.parent}: {error}\n"
            "free some space there, or name another folder by --data-dir or EVO_DATA_DIR"
        ) from error


def check_md5(path: Path, md5: str, remedy: str) -> bytes:
    """Return the content of a file that has this checksum. MD5 finds damage, not forgery; readers trust nothing.

    Raises:
        ConfigurationError: It has another one, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != md5:
        raise ConfigurationError(f"{path} is corrupt: expected MD5 {md5}, got {actual}\n{remedy}")
    return content


def fingerprint_of(folder: Path, names: Sequence[str], remedy: str) -> str:
    """Return what changes when one of a folder's files changes; checksums are compared when they are decoded.

    Raises:
        ConfigurationError: A file is missing.
    """
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ConfigurationError(f"{folder} lacks {', '.join(missing)}\n{remedy}")
    facts = {name: (folder / name).stat() for name in names}
    lines = [f"{name}\0{fact.st_size}\0{fact.st_mtime_ns}\n" for name, fact in facts.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
