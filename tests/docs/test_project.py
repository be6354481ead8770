"""What the project's files say of each other: versions, addresses, bounds, targets."""

from __future__ import annotations

import re

import pytest
from doc_pages import REPOSITORY

import vitcam

PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def pins(file: str) -> dict[str, set[str]]:
    """Of each package, the versions that a file of constraints has, for whichever Python."""
    found: dict[str, set[str]] = {}
    for line in (REPOSITORY / file).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            pin = re.fullmatch(r"([a-z0-9-]+)==([^\s;]+)( ; .+)?", line)
            assert pin, f"{file}: {line!r} pins nothing"
            found.setdefault(pin[1], set()).add(pin[2])
    return found


def requirements() -> dict[str, str]:
    """From each package that pyproject.toml asks for to the lowest version that it allows."""
    found = re.findall(r'"([A-Za-z][\w-]*)(?:\[[a-z]+\])?>=([\d.]+)[^"]*"', PROJECT)
    return {name.lower().replace("_", "-"): version for name, version in found}


def of_users() -> set[str]:
    """The packages that vitcam itself or one of its extras for users asks for."""
    tables = PROJECT[PROJECT.index("\ndependencies = [") : PROJECT.index("\ndocs = [")]
    return {name.lower().replace("_", "-") for name in re.findall(r'"([A-Za-z][\w-]*)>=', tables)}


def test_the_constraints_pin_all_that_is_asked_for():
    assert set(requirements()) <= set(pins("constraints.txt"))
    assert {"torch", "hatchling", "pytest", "mkdocs-material"} <= set(requirements())


def test_the_oldest_versions_are_those_that_are_declared():
    oldest, declared = pins("constraints-minimum.txt"), requirements()
    for name in {*of_users(), "pytest", "pytest-xdist", "beartype"}:
        (version,) = oldest[name]
        # What a bound leaves open is 0, or the first of the builds that opencv counts.
        assert re.fullmatch(re.escape(declared[name]) + r"(\.0)*(\.80)?", version), (
            f"{name}: {declared[name]} is declared, {version} is tested"
        )


def test_libraries_for_gpus_are_left_to_the_build_of_torch():
    for file in ("constraints.txt", "constraints-minimum.txt"):
        assert not [name for name in pins(file) if name.startswith(("nvidia", "cuda", "triton"))]


def test_every_target_is_explained_and_phony():
    described = set(re.findall(r"^## .+\n([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    phony = re.search(r"^\.PHONY: ((?:.+\\\n)*.+)", MAKEFILE, re.MULTILINE)
    assert described == TARGETS == set(phony[1].replace("\\", " ").split())


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", ".ci/run", *WORKFLOWS], ids=str)
def test_targets_that_are_named_exist(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|run: |^)(?:make|step) ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= TARGETS, f"{file}: there is no make {named - TARGETS}"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_each_job_but_publishing_calls_make(file):
    jobs = re.split(
        r"^  (?=[a-z]+:$)", file.read_text(encoding="utf-8").partition("\njobs:\n")[2], flags=re.M
    )
    assert len(jobs) > 1
    for job in jobs[1:]:
        assert job.startswith("publish:") or "run: make " in job, job


def test_versions_and_addresses_agree():
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {vitcam.__version__}\n" in citation
    home = re.search(r'^Homepage = "(.+)"$', PROJECT, re.MULTILINE)[1]
    docs = re.search(r'^Documentation = "(.+)"$', PROJECT, re.MULTILINE)[1]
    assert f"repository-code: {home}\n" in citation
    assert f"\nurl: {docs}\n" in citation
    site = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert f"repo_url: {home}\n" in site
    assert f"site_url: {docs}\n" in site
    raw = home.replace("github.com", "raw.githubusercontent.com")
    assert f"({home}/blob/v$HFPR_VERSION/" in PROJECT
    assert f"({raw}/v$HFPR_VERSION/" in PROJECT


def test_links_on_pypi_are_absolute():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for pattern, replacement in re.findall(
        r"^pattern = '(.+)'\nreplacement = '(.+)'$", PROJECT, re.MULTILINE
    ):
        text = re.sub(pattern, replacement, text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert not [link for link in links if not link.startswith(("https://", "#"))]
