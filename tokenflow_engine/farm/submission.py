"""From a .blend, an edit list or a template to a job with all its parameters."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..client.edit_list import read_edit_list
from ..client.edit_steps import batches, edit_pieces
from ..client.errors import EXIT_CODES, TokenFlowError
from ..client.job_folder import JobFolder
from .job_template import TEMPLATE, FarmJob, read_template
from .parameters import DERIVED, PARAMETERS
from .worker_engine import PACKAGE_ROOT

COMMAND = PACKAGE_ROOT / "farm" / "tokenflow_command.py"
_NAMED = {"Blender": "BLENDER", "EnginePython": "TOKENFLOW_ENGINE_PYTHON"}
_CODES = {code: name for name, code in EXIT_CODES.items()}


@dataclass(frozen=True)
class Submission:
    """A job ready to run. folder: where its report goes; None for a template of somebody else's."""

    job: FarmJob
    folder: JobFolder | None


def submission(
    source: Path,
    folder: Path | None,
    given: Mapping[str, str],
    rules: tuple[Mapping[str, str], ...],
) -> Submission:
    """The job that a source means.

    source: a template, whose parameters are `given` in full; or an edit list or a .blend, which
        Blender completes into the job's folder first.

    Raises:
        TokenFlowError: the source cannot be used, or Blender refuses it.
    """
    source = source.absolute()
    if source.suffix in (".yaml", ".yml"):
        return Submission(FarmJob(read_template(source), given, str(source.parent), rules), None)
    if source.suffix not in (".blend", ".json"):
        raise TokenFlowError(
            "bad_request",
            f'"{source}" is no .blend, no edit list and no template.',
            "Give a file that ends in .blend, .json or .yaml.",
        )
    job = JobFolder((folder or source.with_name(f"{source.stem}_job")).absolute())
    shot = source if source.suffix == ".blend" else Path(given.get("Shot", ""))
    if source.suffix == ".json" and not given.get("Shot"):
        shot = Path(read_edit_list(source).blend)
    if not shot.is_file():
        raise TokenFlowError(
            "bad_request",
            f'There is no .blend at "{shot}".',
            "Name it in the edit list, or with --shot.",
        )
    blender = given.get("Blender") or default("Blender")
    complete(blender, shot, None if source.suffix == ".blend" else source, job)
    values = {
        **values_of(job, shot, source.stem),
        "AddOn": str(PACKAGE_ROOT),
        **{name: default(name) for name in _NAMED},
        **{name: value for name, value in given.items() if name not in DERIVED},
    }
    return Submission(FarmJob(read_template(TEMPLATE), values, str(TEMPLATE.parent), rules), job)


def values_of(job: JobFolder, shot: Path, title: str) -> dict[str, str]:
    """The parameters that follow from the job's edit list."""
    edits = read_edit_list(job.edit_list)
    return {
        "Title": title,
        "Shot": str(shot),
        "JobFolder": str(job.root),
        "Edits": f"0-{len(edits.edits) - 1}",
        "Batches": f"0-{len(batches(edits.edits)) - 1}",
        "Pieces": f"0-{len(edit_pieces(edits.edits)) - 1}",
    }


def default(name: str) -> str:
    """The default of a parameter, as text; of a program, the one that a variable here names."""
    named = os.environ.get(_NAMED.get(name, ""), "")
    return named or str(next(p.default for p in PARAMETERS if p.name == name))


def complete(blender: str, shot: Path, edit_list: Path | None, job: JobFolder) -> None:
    """Have Blender write the complete edit list into the job's folder.

    Raises:
        TokenFlowError: Blender cannot be started, or refuses.
    """
    arguments = ["export", "--output", str(job.edit_list), "--json"]
    if edit_list is not None:
        arguments += ["--edit-list", str(edit_list)]
    command = [blender, "-b", str(shot), "--python-exit-code", "1", "-P", str(COMMAND), "--"]
    # Our packages must not shadow those of Blender's Python.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, errors="replace", env=variables
        )
    except OSError as error:
        raise TokenFlowError(
            "bad_request",
            f'Blender cannot be started as "{blender}".',
            "Name its program with --blender.",
            str(error),
        ) from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "It said nothing.").splitlines()[-1]
        raise TokenFlowError(
            _CODES.get(done.returncode, "internal"), f"Blender: {last}", "", done.stdout[-4000:]
        )
