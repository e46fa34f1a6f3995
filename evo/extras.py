"""Optional packages: what to install where one is missing, in a way that works however evo was installed."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import metadata

DISTRIBUTION = "evo-hpo"


def install_command(extra: str) -> str:
    """Return the command that installs what an extra needs.

    It names the packages themselves: the extra's name works only where the index has this version of evo.
    """
    return shlex.join([sys.executable, "-m", "pip", "install", *_packages(extra)])


def _packages(extra: str) -> list[str]:
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # evo is not installed but found on a path
        requirements = []
    found = [text.partition(";")[0].strip() for text in requirements if re.search(rf"extra == ['\"]{extra}['\"]", text)]
    return found or [extra]
