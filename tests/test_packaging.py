"""What is written twice in the repository has to agree."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CITATION.cff", r"^version: (\S+)$"), ("CHANGELOG.md", r"^## \[(\d\S*)\]")],
)
def test_version_is_the_same_everywhere(project: dict, file: str, pattern: str) -> None:
    found = re.search(pattern, (ROOT / file).read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == project["version"]


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_constraints_pin_what_is_required(project: dict, python: str) -> None:
    lines = (ROOT / "constraints" / f"py{python}.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = project["optional-dependencies"]
    required = [Requirement(line) for line in [*project["dependencies"], *extras["test"], *extras["doc"]]]

    assert [r.name for r in required if canonicalize_name(r.name) not in pinned] == []
    assert [r.name for r in required if pinned[canonicalize_name(r.name)] not in r.specifier] == []
