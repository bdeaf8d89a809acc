"""Every code block of README and docs runs, and every command in them is one that exists."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from nnjax.cli.main import main
from nnjax.native.library import compiler

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PEERS = {"torch", "flax", "equinox", "haiku", "keras"}  # no part of the default install
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text()) if kind == language]


def commands(page: Path, language: str) -> list[str]:
    lines = "\n".join(blocks(page, language)).splitlines()
    return [command.strip() for line in lines for command in line.split("#")[0].split("&&")]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with jax.numpy_dtype_promotion("standard"):  # as a reader has it; optax is not strict
        yield


def test_every_block_has_a_known_language():
    known = {"python", "bash", "bash slow", "text"}
    assert {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text())} <= known


def peers(page: Path) -> set[str]:
    lines = re.findall(r"^(?:import|from) .*", "\n".join(blocks(page, "python")), re.MULTILINE)
    return PEERS & set(re.findall(r"\w+", " ".join(lines)))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix().removeprefix("docs/").removesuffix(".md")


def run_python_blocks(page: Path, printed):
    if page.stem == "native" and shutil.which(compiler()) is None:
        pytest.skip("no C++ compiler")
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)
    out = printed()
    if page.stem == "README":
        assert re.search(r"^0\.9[6-9]", out, re.MULTILINE)
    for shown in blocks(page, "text"):  # the page shows what its blocks printed
        assert shown in out, out


def marked(page: Path):
    """Pages that take over 5 s on one core are slow."""
    slow = page.parent.name == "layers" or page.stem in ("losses", "metrics", "initializers")
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(page, marks=marks, id=name_of(page))


@pytest.mark.parametrize("page", [marked(p) for p in PAGES if not peers(p)])
def test_python_blocks_run(page, capsys):
    run_python_blocks(page, lambda: capsys.readouterr().out)


@pytest.mark.parity
@pytest.mark.parametrize("page", [p for p in PAGES if peers(p)], ids=name_of)
def test_python_blocks_beside_a_peer_run(page, capsys):
    for peer in sorted(peers(page)):
        pytest.importorskip(peer)
    run_python_blocks(page, lambda: capsys.readouterr().out)


@pytest.mark.parity
def test_the_site_builds(tmp_path):
    pytest.importorskip("mkdocs")
    command = ["mkdocs", "build", "-q", "--strict", "-f", ROOT / "mkdocs.yml", "-d", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nnjax_commands_run(page):
    for command in commands(page, "bash"):
        if command.startswith(("nnjax ", ".venv/bin/nnjax ")):
            assert main(shlex.split(command)[1:]) == 0, command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_other_commands_exist(page):
    """pip and pytest lines are run by .ci/run, benchmarks by tests/benchmarks, at small size."""
    for command in commands(page, "bash") + commands(page, "bash slow"):
        words = [word for word in shlex.split(command) if "=" not in word or word[0] == "-"]
        match words:
            case ["python", "-m", module, *_] if module.partition(".")[0] == "benchmarks":
                assert importlib.util.find_spec(module), command
            case ["python", script, *_]:
                assert (ROOT / script).is_file(), command
            case [".venv/bin/python", "-m", "pytest", *_] | ["nnjax" | ".venv/bin/nnjax", *_]:
                pass
            case ["python3", "-m", "venv", ".venv"] | [".venv/bin/pip" | "pip", "install", *_]:
                pass
            case ["nnjax" | ".venv/bin/pre-commit", "install"] | []:
                pass
            case _:
                raise AssertionError(f"{page.name}: {command}")


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
