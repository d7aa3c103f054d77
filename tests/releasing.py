"""What `make release` checks before it builds: one version everywhere, and a clean tag of it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def version(root: Path = ROOT) -> str:
    """That of the package, without importing it."""
    text = (root / "src/rgflow/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def wrong(root: Path = ROOT) -> list[str]:
    """What stands in the way of a release, a sentence each."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    now, found = version(root), []
    if changes := git("status", "--porcelain"):
        found.append(f"Expected a clean tree; changed: {len(changes.splitlines())} files.")
    if f"v{now}" not in git("tag", "--points-at", "HEAD").split():
        found.append(f"Expected the tag v{now} at this commit: run git tag -a v{now}.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(now)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f"Expected a section [{now}] with its date in CHANGELOG.md.")
    if f"version: {now}\n" not in (root / "CITATION.cff").read_text(encoding="utf-8"):
        found.append(f"Expected version: {now} in CITATION.cff.")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(wrong()) or 0)
