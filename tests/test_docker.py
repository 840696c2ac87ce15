"""The Dockerfiles, read: no engine builds them here."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
NAMES = ["host", "jetpack4", "jetpack5", "jetpack6"]


class Step(NamedTuple):
    """One instruction: its word and what follows, lines joined."""

    word: str
    rest: str


def steps(path: Path) -> Iterator[Step]:
    """The instructions of a Dockerfile, without comments."""
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).split("\n"):
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Step(word, rest.strip())


def _of(path: Path, word: str) -> list[str]:
    return [step.rest for step in steps(path) if step.word == word]


def _head(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\nFROM")[0]


def test_there_is_one_for_the_host_and_each_jetpack() -> None:
    assert [path.name.split(".")[0] for path in FILES] == NAMES


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_the_words_are_those_of_a_dockerfile(path: Path) -> None:
    assert {step.word for step in steps(path)} <= {"FROM", "ENV", "RUN", "COPY", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
    assert next(steps(path)).word == "FROM"


def test_the_base_is_pinned(path: Path) -> None:
    (base,) = _of(path, "FROM")
    name, _, tag = base.rpartition(":")
    assert name and re.match(r"^r?\d+\.\d+\.\d+", tag), base
    releases = {"jetpack4": "r32.7", "jetpack5": "r35.", "jetpack6": "r36.4"}
    assert tag.startswith(releases.get(path.name.split(".")[0], "3."))


def test_the_head_has_a_build_and_a_run_line(path: Path) -> None:
    head = _head(path).replace("\\\n#", "")
    name = path.name.split(".")[0]
    build = re.search(r"^# +docker build -f (\S+) -t (\S+) (\S+)$", head, re.MULTILINE)
    run = re.search(r"^# +docker run --rm .*$", head, re.MULTILINE)
    assert build and run
    assert (ROOT / build.group(1)) == path and (ROOT / build.group(3)).is_dir()
    assert build.group(2) == f"edge-mpq:{name}" and build.group(2) in run.group(0)
    assert ("--runtime nvidia" in run.group(0)) == (name != "host")


def test_what_is_copied_exists(path: Path) -> None:
    for copied in _of(path, "COPY"):
        words = copied.split()
        assert len(words) > 1 and words[-1].startswith("/")
        for word in words[:-1]:
            assert list(ROOT.glob(word)), f"{path.name} copies {word}, which is not there"


def test_nothing_is_kept_that_is_of_no_use(path: Path) -> None:
    for run in _of(path, "RUN"):
        if "apt-get install" in run:
            assert "apt-get update" in run and "--no-install-recommends" in run and "rm -rf /var/lib/apt/lists/*" in run
        if "pip install" in run:
            assert "--no-cache-dir" in run
        assert "sudo" not in run and "curl" not in run and "wget" not in run


def test_it_does_not_run_as_root(path: Path) -> None:
    assert re.match(r"^[1-9]\d*:[1-9]\d*$", _of(path, "USER")[-1])
    order = [step.word for step in steps(path)]
    assert order.index("USER") > max(at for at, word in enumerate(order) if word == "RUN")


def test_the_entry_point_is_a_program_and_no_shell(path: Path) -> None:
    (entry,) = _of(path, "ENTRYPOINT")
    assert json.loads(entry) == (["edge-mpq"] if path.name.startswith("host") else ["python3"])


def test_the_host_image_gets_all_that_the_wheel_is_made_of(tmp_path: Path) -> None:
    host = ROOT / "docker" / "host.Dockerfile"
    copied = {word for line in _of(host, "COPY") for word in line.split()[:-1]}
    included = set(re.findall(r'^"(\w+)" = "edge_mpq/_stages/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert included | {"edge_mpq", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"} == copied
    lines = host.with_suffix(".Dockerfile.dockerignore").read_text().split("\n")
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_the_page_names_every_image_and_that_none_was_built() -> None:
    page = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
    assert "None of them has been built or run here" in page
    for path in FILES:
        assert f"`{path.name}`" in page and f"`{_of(path, 'FROM')[0]}`" in page


def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
