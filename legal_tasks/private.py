"""What an installation writes is its owner's alone: the umask and the modes of the var folder.

Below var lie sources with personal data, databases, questions in logs and keys. One account owns an installation; what its
people may see they see through Airflow, MLflow and the gateway, which ask who they are.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

UMASK = 0o077


def keep() -> None:
    """From now on this process and its children make files that only their owner may read."""
    os.umask(UMASK)


def close(folder: Path, passed_by: frozenset[str] = frozenset()) -> list[Path]:
    """Take from all others what they may do in a folder, made where it is missing; what was open until now.

    What lies directly below is closed as well, which closes what is under it; links and other people's files stay as they
    are. `passed_by`: children that belong to another account, which has to get past the folder to them (mode 711).
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = []
    for path in (folder, *sorted(folder.iterdir())):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid() or path.name in passed_by and path != folder:
            continue
        mode = stat.S_IMODE(status.st_mode)
        closed = mode & 0o700 | (0o011 if path == folder and passed_by else 0)
        if mode & 0o077 & ~closed:
            found.append(path)
        if mode != closed:
            path.chmod(closed)
    return found
