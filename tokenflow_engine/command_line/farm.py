"""`tokenflow farm ...`: the steps of a job, a worker's engine, and whole jobs on a Ray cluster."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from ..client.edit_list_schema import schema
from ..client.errors import TokenFlowError
from ..client.launcher import EngineCommand
from ..client.step_command import ENGINE_STEPS, add_step_arguments, run_engine_step, spoken_report
from ..client.step_engine import RUNTIME_VARIABLE
from ..client.step_report import StepReport
from ..farm import worker_engine
from ..farm.parameters import DERIVED, PARAMETERS
from .edit import Parser

PUBLISHED_SCHEMA = worker_engine.PACKAGE_ROOT / "farm" / "edit_list.schema.json"
FLAMENCO = worker_engine.PACKAGE_ROOT / "farm" / "flamenco" / "tokenflow_edit.js"


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = Parser(prog="tokenflow farm", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True)
    steps = commands.add_parser("step", help="one step of a job, as a farm's task runs it")
    verbs = steps.add_subparsers(dest="verb", required=True)
    for name, text in ENGINE_STEPS.items():
        add_step_arguments(verbs.add_parser(name, help=text), name)

    engine = commands.add_parser("engine", help="a worker's engine: start it, stop it")
    engine.add_argument("act", choices=("start", "stop"))
    engine.add_argument("--runtime", type=Path, required=True, metavar="DIR", help="private folder")
    engine.add_argument("--exit-idle-seconds", type=float, default=900.0, metavar="S")
    engine.add_argument("--openjd", action="store_true", help="tell the tasks by openjd_env")

    run = commands.add_parser("run", help="run a job on a Ray cluster, or on one made here")
    run.add_argument("source", type=Path, help="a .blend, an edit list or a job template")
    run.add_argument("--address", help='of a Ray cluster, or "auto"; default: make a local one')
    run.add_argument("--workers", type=int, default=1, metavar="N", help="of a local cluster")
    run.add_argument("--retries", type=int, default=3, metavar="N", help="of each task")
    run.add_argument(
        "--gpus-per-task", type=float, metavar="X", help="0 without GPUs, 0.5 for two on each"
    )
    run.add_argument("--path-mapping", type=Path, metavar="FILE", help="rules for the workers")
    run.add_argument("-p", action="append", default=[], dest="values", metavar="NAME=VALUE")
    run.add_argument("--json", action="store_true", help="print the report as JSON last")
    for parameter in PARAMETERS:
        if parameter.name not in DERIVED:
            run.add_argument(
                parameter.option,
                dest=f"of_job_{parameter.name}",
                metavar="PATH" if parameter.kind in ("file", "folder") else "X",
                help=parameter.description,
            )
    for name, text in (
        ("schema", "write the published schema of edit lists"),
        ("flamenco", "write the settings into the Flamenco job type"),
    ):
        commands.add_parser(name, help=text)
    model = commands.add_parser("simulate", help="the cost of a job on 1 to 1000 workers")
    times = model.add_mutually_exclusive_group(required=True)
    times.add_argument("--times", type=Path, metavar="FILE", help="measured seconds of each step")
    times.add_argument("--job", type=Path, metavar="DIR", help="take them from a finished job")
    model.add_argument("--output", type=Path, required=True, metavar="DIR", help="table and plot")
    return top


def run(arguments: list[str]) -> int:
    """Run a subcommand; returns 0, or the error's exit code after one sentence on stderr."""
    as_json, report = "--json" in arguments, StepReport("--openjd" in arguments)
    try:
        options = parser().parse_args(arguments)
        return int(_COMMANDS[options.command](options, report))
    except TokenFlowError as error:
        return report.fail(error, as_json)
    except KeyboardInterrupt:
        return report.fail(TokenFlowError("cancelled", "It was cancelled."), as_json)
    except ModuleNotFoundError as error:
        problem = f"This Python lacks the package {error.name}."
        remedy = "Use `python3 run.py tokenflow farm ...`, which has the farm's environment."
        return report.fail(TokenFlowError("engine_missing", problem, remedy), as_json)
    except Exception as error:
        traceback.print_exc()
        problem = f"Something unexpected happened: {type(error).__name__}: {error}"
        remedy = "Please report it together with the lines above."
        return report.fail(TokenFlowError("internal", problem, remedy), as_json)


def _step(options: argparse.Namespace, report: StepReport) -> int:
    command = EngineCommand(Path(sys.executable), worker_engine.PACKAGE_ROOT)
    outcome = run_engine_step(options.verb, options, command, report)
    report.finish(spoken_report(outcome))
    if options.json:
        print(json.dumps(outcome), flush=True)
    return 0


def _engine(options: argparse.Namespace, report: StepReport) -> int:
    if options.act == "stop":
        ended = worker_engine.stop(options.runtime)
        report.say("the engine has ended" if ended else "there is no engine to end")
        return 0
    folder = worker_engine.start(options.runtime, options.exit_idle_seconds)
    if options.openjd:
        print(f"openjd_env: {RUNTIME_VARIABLE}={folder}", flush=True)
    report.say(f"the engine is ready in {folder}")
    return 0


def _run(options: argparse.Namespace, report: StepReport) -> int:
    # These need the farm's environment, which a worker's steps do without.
    from ..farm.job_template import read_rules
    from ..farm.ray_run import RayOptions, cluster, run_on_ray
    from ..farm.run_report import summary, write_report
    from ..farm.submission import submission

    rules = read_rules(options.path_mapping)
    given = _given(options)
    folder = Path(given["JobFolder"]) if "JobFolder" in given else None
    submitted = submission(options.source, folder, given, rules)
    ray_options = RayOptions(
        address=options.address,
        workers=options.workers,
        retries=options.retries,
        gpus_per_task=options.gpus_per_task,
    )
    started = time.monotonic()
    with cluster(ray_options) as watch:
        outcomes = run_on_ray(submitted.job, ray_options, report.say)
        lost = watch()
    outcome = summary(outcomes, time.monotonic() - started)
    if submitted.folder is not None:
        report.say(f"the report is in {write_report(submitted.folder, outcome, lost)}")
    if options.json:
        print(json.dumps(outcome), flush=True)
    failures = [task for task in outcomes if not task.succeeded]
    if failures:
        first = failures[0]
        raise TokenFlowError(
            "internal" if first.exit_code is None else _code(first.exit_code),
            f"{len(failures)} of {len(outcomes)} tasks did not succeed; the first: {first.step}: "
            f"{first.message.rstrip('.')}.",
            "What is finished stays; run the same command again after mending it.",
            "\n".join(first.log),
        )
    return 0


def _code(exit_code: int) -> str:
    from ..client.errors import EXIT_CODES

    return next((name for name, code in EXIT_CODES.items() if code == exit_code), "internal")


def _given(options: argparse.Namespace) -> dict[str, str]:
    given = {
        parameter.name: str(value)
        for parameter in PARAMETERS
        if (value := getattr(options, f"of_job_{parameter.name}", None)) is not None
    }
    for text in options.values:
        name, separator, value = text.partition("=")
        if not separator:
            raise TokenFlowError("bad_request", f"{text!r} is not of the form NAME=VALUE.", "")
        given[name] = value
    for name in ("Shot", "JobFolder", "AddOn"):
        if name in given:
            given[name] = str(Path(given[name]).absolute())
    return given


def _schema(options: argparse.Namespace, report: StepReport) -> int:
    PUBLISHED_SCHEMA.write_text(json.dumps(schema(), indent=1) + "\n", encoding="utf-8")
    report.say(f"written: {PUBLISHED_SCHEMA}")
    return 0


def _flamenco(options: argparse.Namespace, report: StepReport) -> int:
    from ..farm.flamenco import with_settings

    FLAMENCO.write_text(with_settings(FLAMENCO.read_text(encoding="utf-8")), encoding="utf-8")
    report.say(f"written: {FLAMENCO}")
    return 0


def _simulate(options: argparse.Namespace, report: StepReport) -> int:
    from ..farm.simulation_report import write_simulation

    for file in write_simulation(options.output, options.times, options.job):
        report.say(f"written: {file}")
    return 0


_COMMANDS: dict[str, Any] = {
    "step": _step,
    "engine": _engine,
    "run": _run,
    "schema": _schema,
    "flamenco": _flamenco,
    "simulate": _simulate,
}
