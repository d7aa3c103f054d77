"""The files around the code: a release, the wheel, what others read first."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import releasing
import wheel
from rgflow import __version__

ROOT = Path(__file__).parents[1]
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ".github/pull_request_template.md"]

pytestmark = pytest.mark.skipif(
    not (ROOT / "CONTRIBUTING.md").is_file(), reason="installed without its sources"
)


@pytest.fixture
def ready(tmp_path):
    """A repository that may be released."""
    for name in ("src/rgflow/__init__.py", "CHANGELOG.md", "CITATION.cff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "All")
    git(tmp_path, "tag", f"v{__version__}")
    return tmp_path


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True)


def test_a_release_needs_a_clean_tag_and_one_version(ready):
    assert releasing.version() == __version__
    assert releasing.wrong(ready) == []
    (ready / "new").touch()
    assert releasing.wrong(ready) == ["Expected a clean tree; changed: 1 files."]
    (ready / "new").unlink()
    git(ready, "commit", "-q", "--allow-empty", "-m", "More")
    (found,) = releasing.wrong(ready)
    assert found.startswith(f"Expected the tag v{__version__} at this commit")


def test_a_release_of_a_version_that_nobody_wrote_about(ready):
    path = ready / "src/rgflow/__init__.py"
    path.write_text(path.read_text().replace(__version__, "9.9.9"))
    git(ready, "commit", "-q", "-a", "-m", "Next")
    git(ready, "tag", "v9.9.9")
    assert releasing.wrong(ready) == [
        "Expected a section [9.9.9] with its date in CHANGELOG.md.",
        "Expected version: 9.9.9 in CITATION.cff.",
    ]


def test_the_wheel_stays_small():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    models = "!/src/rgflow/models/"
    carried = [line.removeprefix(models) for line in settings["exclude"] if models in line]
    assert carried[:2] == ["*/card.json", "*/README.md"]
    assert carried[2:] == [f"{name}/*" for name in wheel.CARRIED]
    package = ROOT / "src" / "rgflow"
    kept = [
        path
        for path in package.rglob("*")
        if path.is_file()
        and (path.parents[1].name != "models" or path.parent.name in wheel.CARRIED)
        and "__pycache__" not in path.parts
    ]
    assert {path.name for path in kept} >= {"model.safetensors", "py.typed"}
    assert sum(path.stat().st_size for path in kept) < wheel.MOST  # before it is compressed


@pytest.mark.parametrize("page", PAGES)
def test_links_and_targets_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert all((ROOT / page).parent.joinpath(link).exists() for link in links), links
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^`?make ([a-z]+)|`make ([a-z]+)`", text, re.MULTILINE):
        assert f"\n{''.join(target)}:" in makefile, target
    for path in re.findall(r"`((?:src|tests|docs|experiments)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_the_forge_runs_the_same_checks():
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = content["jobs"]["checks"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_forms_and_settings_can_be_read():
    for path in (*(ROOT / ".github/ISSUE_TEMPLATE").iterdir(), ROOT / ".readthedocs.yaml"):
        assert yaml.safe_load(path.read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    read = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
    (installed,) = read["python"]["install"]
    assert set(installed["extra_requirements"]) <= project["optional-dependencies"].keys()
    assert (ROOT / read["sphinx"]["configuration"]).is_file()
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (__version__, "MIT")


def test_the_container_is_served_by_a_user_without_rights():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in ("root", "0")
    after = lines[lines.index(f"USER {users[-1]}") :]
    assert any(line.startswith("ENTRYPOINT") and "0.0.0.0" in line for line in after)
    assert any(line.startswith("HEALTHCHECK") for line in after)
