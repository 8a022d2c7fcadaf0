"""Imports run one way; they are read from the source, lazy ones included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = "tokenflow_engine"

BLENDER_SIDE = ("installation", "sequencer", "operators", "panels")
SHARED = ("requirements", "environments")
"""The one module of the checkout's tools that the add-on imports, standard library only."""
ENGINE_SIDE = (
    "client",
    "media",
    "toyworld",
    "evaluation",
    "diffusion",
    "tokenflow",
    "editors",
    "phases",
    "service",
    "comparison",
    "benchmark",
    "farm",
    "command_line",
)
"""Both from the bottom up: a room imports only from itself and from those before it."""

BLENDER_MODULES = {
    *("addon_utils", "aud", "bl_ext", "bl_operators", "bl_pkg", "bl_ui", "blf", "bmesh", "bpy"),
    *("bpy_extras", "bpy_types", "gpu", "gpu_extras", "idprop", "imbuf", "mathutils"),
    *("rna_keymap_ui",),
}


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Every import of a file, from the repository's root: ("tokenflow_engine", "client", "jobs").

    A module imported by name through `importlib` counts as well. What comes from elsewhere begins
    with that package's name.
    """
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield tuple(alias.name.split("."))
            case ast.ImportFrom(module=module, names=names, level=level):
                for alias in names:
                    yield absolute(package, level, f"{module or ''}.{alias.name}")
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield absolute(package, len(name) - len(name.lstrip(".")), name)


def absolute(package: tuple[str, ...], level: int, name: str) -> tuple[str, ...]:
    """A dotted name, `level` packages up, seen from the repository's root."""
    parts = tuple(part for part in name.split(".") if part)
    return package[: len(package) - level + 1] + parts if level else parts


def is_known(module: tuple[str, ...], packages: set[str]) -> bool:
    return module[0] in packages or module[0] in sys.stdlib_module_names


def blender_files() -> list[Path]:
    return [ROOT / "__init__.py", *(f for room in BLENDER_SIDE for f in sources(ROOT / room))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    folder = ROOT / ENGINE / "service"
    seen = set(imports(folder / "runner.py")) | set(imports(folder / "engine.py"))
    assert (ENGINE, "phases", "edit_run") in seen  # by name, at the first job
    assert (ENGINE, "client", "endpoint", "Endpoint") in seen
    assert (ENGINE, "service", "server", "EngineServer") in seen
    assert ("contextlib",) in seen
    assert ("torch",) in set(imports(folder / "capabilities.py"))  # within a function
    assert set(imports(ROOT / ENGINE / "client" / "engine_link.py")) >= {(ENGINE, "__version__")}


@pytest.mark.parametrize("path", blender_files(), ids=name_of)
def test_the_blender_side_needs_blender_the_standard_library_and_the_client(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    below = set(BLENDER_SIDE[: BLENDER_SIDE.index(room) + 1] if room in BLENDER_SIDE else ())
    for module in imports(path):
        if module[0] == ENGINE:
            assert module[1:2] in {("client",), ("__version__",)}, module
        elif module[:2] == SHARED:
            assert room == "installation", f"{room} imports {module}"
        elif module[0] in BLENDER_SIDE:
            assert module[0] in below, f"{room} imports {module}, which comes after it"
        else:
            assert is_known(module, BLENDER_MODULES), f"{module} is not in Blender's Python"


@pytest.mark.parametrize(
    "path", [*blender_files(), *sources(ROOT / ENGINE / "client")], ids=name_of
)
def test_no_thread_is_started_within_blender(path: Path) -> None:
    """Blender reads Python objects without the interpreter's lock: a thread would crash it."""
    for module in imports(path):
        assert module[0] not in {"threading", "_thread", "concurrent", "asyncio"}, module


@pytest.mark.parametrize("path", sources(ROOT / ENGINE / "client"), ids=name_of)
def test_the_client_needs_the_standard_library_only(path: Path) -> None:
    for module in imports(path):
        if module[0] == ENGINE:
            assert module[1] in {"client", "__version__"}, module
        else:
            assert is_known(module, set()), f"{module} is not in the standard library"


@pytest.mark.parametrize("path", sources(ROOT / "requirements"), ids=name_of)
def test_the_installer_needs_the_standard_library_and_pip(path: Path) -> None:
    for module in imports(path):
        assert is_known(module, {"environments", "wheels", "pip"}), module


@pytest.mark.parametrize("path", sources(ROOT / ENGINE), ids=name_of)
def test_the_engine_knows_no_blender_and_imports_one_way(path: Path) -> None:
    parts = path.relative_to(ROOT / ENGINE).parts
    room = parts[0] if len(parts) > 1 else None
    below = ENGINE_SIDE[: ENGINE_SIDE.index(room) + 1] if room else ENGINE_SIDE
    for module in imports(path):
        assert module[0] not in BLENDER_MODULES, f"{module} is Blender's"
        assert module[0] not in BLENDER_SIDE, f"{module} is the add-on's"
        if module[0] == ENGINE and len(module) > 1:
            assert module[1] in {*below, "__version__"}, f"{module} comes after {room}"


@pytest.mark.parametrize("path", sources(ROOT / ENGINE), ids=name_of)
def test_the_engine_imports_itself_by_relative_names(path: Path) -> None:
    """Within Blender the package has another name, `bl_ext...tokenflow_engine`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] != ENGINE
        elif isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] != ENGINE for alias in node.names)


def loaded_by(statement: str, *options: str) -> set[str]:
    """Top-level modules that a fresh Python has loaded after a statement."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print(*sys.modules)"
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_client_works_in_a_python_that_has_no_packages() -> None:
    loaded = loaded_by(f"import {ENGINE}.client.session", "-I", "-S")
    assert loaded - set(sys.stdlib_module_names) == {ENGINE, "__main__"} - sys.stdlib_module_names


def test_the_service_listens_before_torch_is_loaded() -> None:
    loaded = loaded_by(f"import {ENGINE}.command_line.serve", "-I")
    assert not loaded & {"torch", "diffusers", "transformers", "numpy"}
