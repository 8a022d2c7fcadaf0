"""Virtual environments: finding a Python, installing what a lock file pins.

Used by a checkout's `run.py` and, out of the installed add-on, by `install_engine.py`. Standard
library only, and nothing newer than Python 3.9, since any Python may start them.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

LOCKS = Path(__file__).resolve().parent
ENVIRONMENTS = Path(os.environ.get("TOKENFLOW_ENVS") or LOCKS.parent / ".envs").resolve()
WINDOWS = sys.platform == "win32"
STAMP = "tokenflow-locks.json"
WHEELS = "wheels"
"""Folder beside the add-on's engines for files that are being fetched."""


class Refusal(Exception):
    """Why a command cannot run, in a sentence or two for the user; details: for a report."""

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(f"{details}\n{sentence}" if details else sentence)
        self.sentence = sentence
        self.details = details


@dataclass(frozen=True)
class Environment:
    """A virtual environment. Each layer is a lock file that is installed on top of the former."""

    name: str
    python: str
    layers: tuple[str, ...]
    megabytes: int
    constraints: tuple[str, ...] = ()
    root: Path = ENVIRONMENTS

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def interpreter(self) -> Path:
        return self.folder / ("Scripts/python.exe" if WINDOWS else "bin/python")


ENGINE = Environment("engine", "3.11", ("engine",), 1600, ("engine-cuda",))
TESTED_ENGINE = Environment("engine", "3.11", ("engine", "test"), 1900, ("engine-cuda",))
ENGINE_PYTHONS = ("3.11", "3.13", "3.12")
"""The version that the engine's lock was resolved for, then those that it suits as well."""
FARM = Environment("farm", "3.11", ("farm",), 350)
BLENDER_MODULES = {
    "4.5": Environment("bpy-4.5", "3.11", ("bpy-4.5",), 950),
    "5.0": Environment("bpy-5.0", "3.11", ("bpy-5.0",), 970),
    "5.2": Environment("bpy-5.2", "3.13", ("bpy-5.2",), 1010),
}


def say(line: str) -> None:
    print(line, flush=True)


def python_candidates(version: str) -> Iterator[list[str]]:
    """Commands that may start a Python of this version, the likeliest first."""
    named = os.environ.get("TOKENFLOW_PYTHON_" + version.replace(".", "_"))
    if named:
        yield [named]
    yield [sys.executable]
    for name in (f"python{version}", "python3", "python"):
        found = shutil.which(name)
        if found:
            yield [found]
    if WINDOWS and shutil.which("py"):
        yield ["py", f"-{version}"]
    home = Path.home()
    tail = "python.exe" if WINDOWS else f"bin/python{version}"
    pyenv = os.environ.get("PYENV_ROOT") or home / ".pyenv"
    uv_default = Path(os.environ.get("APPDATA") or home) if WINDOWS else home / ".local/share"
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR") or uv_default / "uv/python"
    patterns = [
        f"{pyenv}/versions/{version}[.]*/{tail}",
        f"{pyenv}/pyenv-win/versions/{version}[.]*/{tail}",
        f"{uv}/cpython-{version}[.]*/{tail}",
        f"/opt/homebrew/bin/python{version}",
        f"/usr/local/bin/python{version}",
        f"/usr/bin/python{version}",
        f"/Library/Frameworks/Python.framework/Versions/{version}/bin/python{version}",
    ]
    for pattern in patterns:
        for path in sorted(glob.glob(pattern), reverse=True):  # noqa: PTH207
            yield [path]


def find_python(version: str, avoid: tuple[str, ...] = ()) -> list[str] | None:
    """A command that starts a Python of this version which can make environments.

    avoid: programs that are passed over.
    """
    check = (
        "import sys, venv, importlib.util as u;"
        "print('%d.%d' % sys.version_info[:2]);"
        "print(u.find_spec('ensurepip') is not None or u.find_spec('pip') is not None)"
    )
    seen = [[program] for program in avoid]
    for command in python_candidates(version):
        if command in seen:
            continue
        seen.append(command)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            said = subprocess.run(
                [*command, "-c", check], capture_output=True, text=True, timeout=30
            ).stdout.split()
            if said == [version, "True"]:
                return command
    return None


def unavailable(environment: Environment) -> str | None:
    """Why this environment cannot be made here; None when it is there or can be."""
    if is_ready(environment):
        return None
    if environment.name.startswith("bpy"):
        arm = platform.machine().lower() in ("arm64", "aarch64")
        if arm and sys.platform != "darwin":
            return "Blender's Python module is not published for this kind of processor"
    if find_python(environment.python) is None:
        return f"no Python {environment.python} was found"
    return None


def lock_hashes(environment: Environment) -> dict[str, str]:
    """Hash of each layer's pinned versions."""
    hashes = {}
    for layer in environment.layers:
        names = (layer, *environment.constraints)
        texts = [(LOCKS / f"{name}.lock").read_text(encoding="utf-8") for name in names]
        hashes[layer] = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return hashes


def installed_engine(folder: Path) -> Environment:
    """The engine's environment in a folder of the installed add-on, named after its lock.

    An engine for another lock lies beside it, and works on until this one is complete.
    """
    digest = lock_hashes(ENGINE)["engine"]
    return replace(ENGINE, name=f"engine-{digest[:8]}", root=folder)


def installed_hashes(environment: Environment) -> dict[str, str]:
    """What the stamp says; empty for an environment that was never finished."""
    if not environment.interpreter.exists():
        return {}
    try:
        stamp = json.loads((environment.folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_ready(environment: Environment) -> bool:
    return installed_hashes(environment).items() >= lock_hashes(environment).items()


@contextlib.contextmanager
def only_one(environment: Environment) -> Iterator[None]:
    """Hold this environment's lock, so that two commands never build it at once."""
    environment.root.mkdir(parents=True, exist_ok=True)
    with (environment.root / f"{environment.name}.building").open("a+") as file:
        waiting = False
        while not try_lock(file.fileno()):
            if not waiting:
                say(f"Another command is making the environment {environment.name}: waiting.")
                waiting = True
            time.sleep(0.5)
        # Closing the file gives the lock back, also when this process dies.
        yield


def try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def ensure(environment: Environment) -> Path:
    """The environment's interpreter, after making what is missing of it."""
    if is_ready(environment):
        return environment.interpreter
    with only_one(environment):
        wanted, there = lock_hashes(environment), installed_hashes(environment)
        if any(there.get(layer, digest) != digest for layer, digest in wanted.items()) or not there:
            there = {}
            create(environment)
        for layer in environment.layers:
            if layer not in there:
                install(environment, layer)
                there[layer] = wanted[layer]
                stamp(environment, there)
    return environment.interpreter


def stamp(environment: Environment, hashes: dict[str, str]) -> None:
    """Write down, in one step, which layers are complete."""
    partial = environment.folder / f"{STAMP}.partial"
    partial.write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    partial.replace(environment.folder / STAMP)


def create(environment: Environment, python: list[str] | None = None) -> None:
    """Make the empty environment, in place of an older or half-made one.

    python: the command that starts its Python; looked for if None.
    """
    python = python or find_python(environment.python)
    if python is None:
        raise Refusal(
            f"This needs Python {environment.python}, and none was found. Install it (python.org, "
            f"your system's packages, pyenv or uv), or set "
            f"TOKENFLOW_PYTHON_{environment.python.replace('.', '_')} to one, then try again."
        )
    free = shutil.disk_usage(environment.root).free // 10**6
    if free < environment.megabytes:
        elsewhere = ", or set TOKENFLOW_ENVS to a folder on another disk"
        raise Refusal(
            f"The environment {environment.name} needs about {environment.megabytes} MB in "
            f'"{environment.root}"; {free} MB are free. Free some space'
            f"{elsewhere if environment.root == ENVIRONMENTS else ''}."
        )
    say(f"Making the environment {environment.name} (about {environment.megabytes} MB) ...")
    (environment.folder / STAMP).unlink(missing_ok=True)
    if environment.folder.exists():
        shutil.rmtree(environment.folder)
    has_own_pip = not subprocess.run(
        [*python, "-c", "import ensurepip"], capture_output=True
    ).returncode
    # Debian splits ensurepip off; the interpreter's own pip then installs from outside.
    options = [] if has_own_pip else ["--without-pip"]
    command = [*python, "-m", "venv", *options, str(environment.folder)]
    follow(command, environment, log_of(environment), "w")
    (environment.folder / "made-by.json").write_text(json.dumps(python), encoding="utf-8")


def install(environment: Environment, layer: str, options: tuple[str, ...] = ()) -> None:
    """Install one layer's pinned packages. options: further ones for pip."""
    lock = LOCKS / f"{layer}.lock"
    count = lock.read_text(encoding="utf-8").count("==")
    say(f"  {environment.name}: installing {count} packages of requirements/{lock.name}")
    command = [*pip_install(environment), "--quiet", "--requirement", str(lock)]
    command += [*constraint_options(environment), *options]
    follow(command, environment, log_of(environment), "a")


def pip_install(environment: Environment) -> list[str]:
    """The start of a command that installs into the environment."""
    pip = [str(environment.interpreter), "-m", "pip"]
    if not any(environment.folder.glob("lib*/**/site-packages/pip")):
        made_by = json.loads((environment.folder / "made-by.json").read_text(encoding="utf-8"))
        pip = [*made_by, "-m", "pip", "--python", str(environment.interpreter)]
    return [*pip, "install", "--no-input", "--disable-pip-version-check"]


def renew_pip(environment: Environment) -> None:
    """Give the environment a pip that, asked what it would install, fetches none of it (23.3)."""
    found = sorted(environment.folder.glob("lib*/**/site-packages/pip-*.dist-info"))
    version = found[-1].name.split("-")[1].split(".") if found else ["0", "0"]
    if (int(version[0]), int(version[1])) < (23, 3):
        # An older one does the same, only twice.
        with contextlib.suppress(Refusal):
            command = [*pip_install(environment), "--quiet", "--upgrade", "pip>=23.3"]
            follow(command, environment, log_of(environment), "a")


def constraint_options(environment: Environment) -> list[str]:
    """Every layer's pins hold for all layers."""
    names = (*environment.layers, *environment.constraints)
    return [part for name in names for part in ("--constraint", str(LOCKS / f"{name}.lock"))]


def log_of(environment: Environment) -> Path:
    """Where the output of venv and pip goes."""
    return environment.root / f"{environment.name}.log"


def follow(command: list[str], environment: Environment, log: Path, mode: str) -> None:
    """Run a building step, its output in `log`; say every 15 seconds that it is alive."""
    start = time.monotonic()
    with log.open(mode, encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=variables()
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    seconds = time.monotonic() - start
                    there = megabytes(environment.folder)
                    say(f"  {environment.name}: ... {seconds:.0f} s, {there} MB in place")
        except BaseException:
            process.kill()
            process.wait()
            raise
    if status:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
        raise Refusal(
            f"The environment {environment.name} could not be made. Check the network and the "
            f'disk, then try again; "{log}" has all of the output.',
            "\n".join(tail),
        )


def variables() -> dict[str, str]:
    """This process's environment without what would steer another Python."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}


def megabytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
    return total // 10**6
