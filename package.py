"""Builds what an artist installs: the extension's zip, and the index of a static repository.

Both are made by Blender's own builder, which lies beside each `bpy` and needs none itself. The zip
holds no wheels and the build runs no pip: the engine has an environment of its own.

Standard library only, and nothing newer than Python 3.9, since `run.py` imports it.
"""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

from requirements.environments import BLENDER_MODULES, Refusal, ensure, is_ready, say, unavailable

ROOT = Path(__file__).resolve().parent
IDENTITY = "tokenflow_edit"


def package(folder: Path) -> Path:
    """Validate, build and list the extension in `folder`; return the zip's path.

    An older zip of this extension in the folder is replaced, so that the index offers one version.

    Raises:
        Refusal: no builder can be had here, or it found something to object to.
    """
    interpreter, builder = blenders_builder()
    tags = builder.parents[3] / "modules" / "_bpy_internal" / "extensions" / "tags.py"
    known_tags = ["--valid-tags", str(tags)]

    def blender(*arguments: str) -> None:
        run = subprocess.run(
            [str(interpreter), str(builder), *arguments], capture_output=True, text=True
        )
        if run.returncode:
            raise Refusal(f"Blender's builder objects:\n{run.stdout}{run.stderr}".strip())

    blender("validate", *known_tags, str(ROOT))
    folder.mkdir(parents=True, exist_ok=True)
    for older in folder.glob(f"{IDENTITY}-*.zip"):
        older.unlink()
    file = folder / f"{IDENTITY}-{manifest_version()}.zip"
    blender("build", *known_tags, "--source-dir", str(ROOT), "--output-filepath", str(file))
    blender("validate", *known_tags, str(file))
    blender("server-generate", "--repo-dir", str(folder), "--html")
    return file


def blenders_builder() -> tuple[Path, Path]:
    """A Python, and the program `blender_ext.py` of the newest Blender module that is or can be
    had here.

    Raises:
        Refusal: there is no such module.
    """
    newest_first = sorted(BLENDER_MODULES.values(), key=lambda e: e.name, reverse=True)
    candidates = [e for e in newest_first if is_ready(e)] or newest_first
    for environment in candidates:
        if unavailable(environment) is None:
            interpreter = ensure(environment)
            found = sorted(environment.folder.rglob("bl_pkg/cli/blender_ext.py"))
            if found:
                return interpreter, found[0]
    reasons = "; ".join(f"{e.name}: {unavailable(e)}" for e in newest_first)
    raise Refusal(
        f"Packaging needs Blender's builder, and no Blender module can be had here ({reasons}). "
        "With an installed Blender, `blender --command extension build` does the same."
    )


def manifest_version() -> str:
    """The version that the manifest names; read without tomllib, which Python 3.9 lacks."""
    text = (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise Refusal("blender_manifest.toml has no line `version = ...`.")
    return found[1]


def describe(file: Path) -> None:
    """Say what lies where and how large it is, by the zip's top-level names."""
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    for member in members:
        sizes[member.filename.partition("/")[0]] += member.compress_size
    files = sum(not member.is_dir() for member in members)
    say(f"{file}  {megabytes(file.stat().st_size)}, {files} files:")
    for name, size in sizes.most_common():
        say(f"    {megabytes(size):>9}  {name}")
    listed = json.loads((file.parent / "index.json").read_text(encoding="utf-8"))["data"]
    say(f"{file.parent / 'index.json'}  repository of {len(listed)} extension; serve the folder")
    say(f"{file.parent / 'index.html'}  the same to look at in a browser")
    say("In Blender: Preferences > Get Extensions > Install from Disk, or add the repository")
    say(f"    {(file.parent / 'index.json').as_uri()}")


def megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
