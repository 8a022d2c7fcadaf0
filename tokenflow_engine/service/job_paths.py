"""Which files a job may touch: it reads what it names and writes only where it says."""

from __future__ import annotations

from pathlib import Path

from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError

_PACKAGE = Path(__file__).resolve().parent.parent


def checked_paths(request: EditRequest, runtime: Path) -> EditRequest:
    """The request with every path resolved, links followed.

    Raises:
        TokenFlowError: code "bad_request", if a path is relative (the engine's working folder is
            not the client's), the output is or lies below a file, would overwrite the source's
            own folder, or touches the engine's runtime folder or program.
    """
    for name in ("source", "output", "keyframe_schedule", "trajectory"):
        value = getattr(request, name)
        if value and not Path(value).is_absolute():
            raise _bad(f"The {name.replace('_', ' ')} {value!r} is not a full path.", "")
    if request.model != "embedded" and not Path(request.model).is_absolute():
        raise _bad(f"The model {request.model!r} is not a full path.", "Name its folder in full.")
    try:
        resolved = request.resolved()
    except (OSError, RuntimeError, ValueError) as error:
        raise _bad("A path of the request cannot be followed.", "Check its links.") from error
    _check_output(Path(resolved.output), Path(resolved.source), runtime)
    if resolved.trajectory:
        _check_trajectory(Path(resolved.trajectory), resolved, runtime)
    return resolved


def _check_output(output: Path, source: Path, runtime: Path) -> None:
    existing = next(path for path in (output, *output.parents) if path.exists())
    if not existing.is_dir():
        raise _bad(f"The output {output} cannot be a folder: {existing} is a file.", _ELSEWHERE)
    if output == source:
        raise _bad("The output folder is the source itself.", _ELSEWHERE)
    if output == Path(output.anchor):
        raise _bad("The output folder is the root of the disk.", _ELSEWHERE)
    if output == runtime or output in runtime.parents or runtime in output.parents:
        raise _bad(f"The output {output} touches the engine's own folder.", _ELSEWHERE)
    if output == _PACKAGE or _PACKAGE in output.parents:
        raise _bad(f"The output {output} lies in the engine's program.", _ELSEWHERE)


def _check_trajectory(trajectory: Path, request: EditRequest, runtime: Path) -> None:
    if trajectory.suffix != ".safetensors" or trajectory.is_dir():
        raise _bad(
            f"The trajectory {trajectory} is not a .safetensors file.",
            "Give it a name that ends in .safetensors.",
        )
    model = Path(request.model)
    if runtime in trajectory.parents or _PACKAGE in trajectory.parents:
        raise _bad(f"The trajectory {trajectory} lies in the engine's own folder.", _ELSEWHERE)
    if model.is_absolute() and (model == trajectory or model in trajectory.parents):
        raise _bad(f"The trajectory {trajectory} would overwrite a model.", _ELSEWHERE)


_ELSEWHERE = "Choose another folder."


def _bad(message: str, remedy: str) -> TokenFlowError:
    return TokenFlowError("bad_request", message, remedy)
