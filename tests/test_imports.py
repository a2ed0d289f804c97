"""The packages import in one direction, and start-up stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("workloads", "hw", "mappers", "simulator", "dse")
MAY_IMPORT = {package: set(ORDER[: at + 1]) for at, package in enumerate(ORDER)}
MAY_IMPORT["studies"] = {*ORDER[:-1], "studies"}
MAY_IMPORT["dse"] |= {"studies"}


def our_imports(path: Path) -> set[str]:
    """Top-level packages of ours that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found & set(MAY_IMPORT)


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_stands_below_it(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        wrong = our_imports(path) - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_only_one_module_imports_pulp() -> None:
    importing = [
        str(path.relative_to(ROOT))
        for package in MAY_IMPORT
        for path in sorted((ROOT / package).rglob("*.py"))
        if any(line.startswith(("import pulp", "from pulp")) for line in path.read_text().splitlines())
    ]
    assert len(importing) <= 1, importing


HEAVY = ("numpy", "numba", "matplotlib", "networkx", "pulp", "pydantic", "simpy", "scipy", "yaml")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from dse.cli import main\n"
        "sys.argv = ['tiercade', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code in (0, None), stop.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "LOADED []" in done.stdout, done.stdout[-300:]
