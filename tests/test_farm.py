"""The job template by Open Job Description's own tools, on Ray with a worker lost, and Flamenco."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.farm import make_project, pull_the_plug, run_on_workers, without_our_packages
from tokenflow_engine.client.endpoint import Endpoint
from tokenflow_engine.client.processes import process_runs
from tokenflow_engine.client.step_engine import RUNTIME_VARIABLE
from tokenflow_engine.farm import worker_engine
from tokenflow_engine.farm.flamenco import with_settings
from tokenflow_engine.farm.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "farm" / "tokenflow_edit.yaml"
FLAMENCO = ROOT / "farm" / "flamenco" / "tokenflow_edit.js"
STRIPS, FRAMES, BATCHES = 2, 6, 4


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, batch_blender: Path) -> Path:
    """An edit list with its project beside it."""
    return make_project(tmp_path_factory.mktemp("project"), [str(batch_blender)], STRIPS, FRAMES)


@pytest.fixture(scope="module")
def template(farm_python: str) -> dict[str, Any]:
    program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"
    said = subprocess.run(
        [farm_python, "-c", program, TEMPLATE], capture_output=True, text=True, check=True
    )
    return dict(json.loads(said.stdout))


def openjd(farm_python: str, *arguments: object) -> list[str]:
    return [str(Path(farm_python).with_name("openjd")), *map(str, arguments)]


def parameters(project: Path, job: Path, blender: Path, engine_python: str) -> dict[str, Any]:
    """The job's parameters, after Blender has completed the edit list."""
    command = ROOT / "farm" / "tokenflow_command.py"
    start = [blender, "-b", project.with_name("shot.blend"), "-P", command, "--"]
    subprocess.run(
        [*start, "export", "--edit-list", project, "--output", job / "edit_list.json"],
        check=True,
        env=without_our_packages(),
    )
    return {
        "Shot": str(project.with_name("shot.blend")),
        "JobFolder": str(job),
        "Edits": f"0-{STRIPS - 1}",
        "Batches": f"0-{BATCHES - 1}",
        "BatchesPerTask": 2,
        "AddOn": str(ROOT),
        "Blender": str(blender),
        "EnginePython": engine_python,
    }


@pytest.fixture(scope="module")
def by_openjd(
    project: Path,
    batch_blender: Path,
    engine_python: str,
    farm_python: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """Folder and log of the whole job, run by openjd-cli in one session."""
    job = tmp_path_factory.mktemp("by_openjd")
    values = json.dumps(parameters(project, job, batch_blender, engine_python))
    done = subprocess.run(
        openjd(farm_python, "run", TEMPLATE, "-p", values),
        capture_output=True,
        text=True,
        timeout=1500,
        # As Ray gives a task of one core: sums that threads share differ in their last bit.
        env={**without_our_packages(), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return job, done.stdout


def frames(job: Path) -> dict[str, bytes]:
    files = sorted((job / "edited").rglob("*.png"))
    return {str(file.relative_to(job)): file.read_bytes() for file in files}


def test_the_template_is_valid_and_asks_for_the_parameters_of_the_list(
    farm_python: str, template: dict[str, Any]
) -> None:
    checked = subprocess.run(
        openjd(farm_python, "check", TEMPLATE), capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stdout
    assert template["parameterDefinitions"] == [p.openjd() for p in PARAMETERS]
    assert [step["name"] for step in template["steps"]] == ["Extract", "Invert", "Edit", "Assemble"]
    for step in template["steps"][1:3]:
        amounts = {a["name"]: a["min"] for a in step["hostRequirements"]["amounts"]}
        assert amounts["amount.worker.gpu"] == 1 and amounts["amount.worker.gpu.memory"] >= 8192
        cancelation = step["script"]["actions"]["onRun"]["cancelation"]
        assert cancelation["mode"] == "NOTIFY_THEN_TERMINATE"


def test_openjd_runs_the_job_with_one_engine_and_tells_its_progress(
    by_openjd: tuple[Path, str],
) -> None:
    job, log = by_openjd
    assert len(frames(job)) == STRIPS * FRAMES
    assert (job / "shot_tokenflow.blend").is_file()
    assert log.count("openjd_env: TOKENFLOW_ENGINE_RUNTIME=") == 1
    assert "openjd_progress: 100.0" in log and "openjd_status: " in log
    # Inverted in parts by tasks of their own; the edit then found them.
    assert len(list((job / "cache" / "invert-part").iterdir())) == BATCHES
    stamps = {file.stem for file in (job / "done").iterdir()}
    assert {"invert-shot_00-0-6", "invert-shot_01-0-6", "render-shot_01", "assemble"} <= stamps
    # The environment's end was the engine's.
    for process in psutil.process_iter(["cmdline"]):
        assert "serve" not in (line := process.info["cmdline"] or []) or "OpenJD" not in str(line)


def test_two_ray_workers_of_which_one_is_lost_give_the_frames_of_one(
    by_openjd: tuple[Path, str],
    project: Path,
    batch_blender: Path,
    farm_python: str,
    tmp_path: Path,
) -> None:
    job = tmp_path / "job"
    pulled: list[int] = []

    def watch(pid: int) -> bool:
        if pull_the_plug(pid):
            pulled.append(pid)
        return bool(pulled)

    options = ["--job-folder", str(job), "--blender", str(batch_blender)]
    assert run_on_workers(project, 2, [*options, "--batches-per-task", "1"], watch) == 0
    assert pulled, "no worker was lost"
    report = json.loads((job / "report.json").read_text())
    assert report["succeeded"] and len(report["workers_lost"]) == 1
    assert {n: s["tasks"] for n, s in report["steps"].items()} == {
        "Extract": STRIPS,
        "Invert": BATCHES,
        "Edit": STRIPS,
        "Assemble": 1,
    }
    assert frames(job) == frames(by_openjd[0])
    assert "Workers lost on the way: 1" in (job / "report.md").read_text()
    assert (job / "shot_tokenflow.blend").is_file()


def test_a_notice_to_end_cancels_a_step_and_leaves_nothing_half_done(
    by_openjd: tuple[Path, str], engine_python: str, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    for name in ("frames", "done"):
        shutil.copytree(by_openjd[0] / name, job / name)
    listed = json.loads((by_openjd[0] / "edit_list.json").read_text())
    listed["edits"][0]["steps"] = 900
    (job / "edit_list.json").write_text(json.dumps(listed))
    command = [engine_python, ROOT / "farm" / "engine_command.py", "farm", "step", "render"]
    process = subprocess.Popen(
        [*command, "--job", job, "--number", "0", "--openjd"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TOKENFLOW_CACHE": str(tmp_path / "cache")},
    )
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if "correspond" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    assert process.wait(300) == 9
    assert "openjd_fail: The edit was cancelled" in rest
    assert process.stderr.read().count("\n") == 1
    assert not (job / "edited").exists()


def test_a_workers_engine_starts_once_and_stops(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    folder = worker_engine.start(tmp_path / "engine", exit_idle_seconds=300)
    first = Endpoint.read(folder)
    assert first is not None and process_runs(first.pid)
    assert worker_engine.start(tmp_path / "engine", exit_idle_seconds=300) == folder
    assert Endpoint.read(folder) == first
    assert worker_engine.stop(tmp_path / "engine")
    assert not process_runs(first.pid)
    assert not worker_engine.stop(tmp_path / "engine")


def test_an_engine_that_nobody_wants_ends_by_itself(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    folder = worker_engine.start(tmp_path / "engine", exit_idle_seconds=0.5)
    endpoint = Endpoint.read(folder)
    deadline = time.monotonic() + 120
    while endpoint is not None and process_runs(endpoint.pid):
        assert time.monotonic() < deadline, "the engine does not end"
        time.sleep(0.1)


def test_wrong_submissions_are_refused_in_one_sentence(farm_python: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("{}")
    (tmp_path / "bad.yaml").write_text("specificationVersion: jobtemplate-2023-09\nname: a\n")
    (tmp_path / "shot.blend").write_bytes(b"no blend")
    for source, more, said in (
        ("gone.txt", [], "no .blend, no edit list and no template"),
        ("gone.blend", [], "There is no .blend"),
        ("list.json", [], "This is no edit list"),
        ("shot.blend", ["--blender", str(tmp_path / "none")], "Blender cannot be started"),
    ):
        done = subprocess.run(
            [farm_python, "-m", "tokenflow_engine", "farm", "run", tmp_path / source, *more],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 2, done.stderr
        assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_the_published_schema_judges_as_the_program_does(
    farm_python: str, by_openjd: tuple[Path, str], tmp_path: Path
) -> None:
    program = (
        "import json, sys, jsonschema\n"
        "schema, good = (json.load(open(name)) for name in sys.argv[1:3])\n"
        "judge = jsonschema.Draft202012Validator(schema)\n"
        "judge.check_schema(schema)\n"
        "judge.validate(good)\n"
        "for change in ({'steps': 0}, {'unknown': 1}, {'name': '../a'}, {'mode': 'none'}):\n"
        "    bad = {**good, 'edits': [{**good['edits'][0], **change}]}\n"
        "    assert not judge.is_valid(bad), change\n"
    )
    schema, good = ROOT / "farm" / "edit_list.schema.json", by_openjd[0] / "edit_list.json"
    done = subprocess.run(
        [farm_python, "-c", program, schema, good], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


HARNESS = """
const vm = require("vm"), fs = require("fs");
const source = fs.readFileSync(process.argv[1], "utf8"), tasks = [];
const author = {
    Command: (name, parameters) => ({ name, parameters }),
    Task: (name, type) => ({
        name, type, commands: [], needs: [],
        addCommand(command) { this.commands.push(command); },
        addDependency(other) { this.needs.push(other.name); },
    }),
};
const context = vm.createContext({ author, console });
vm.runInContext(source + "\\nthis.JOB_TYPE = JOB_TYPE; this.compileJob = compileJob;", context);
const settings = JSON.parse(process.argv[2]);
for (const setting of context.JOB_TYPE.settings) {
    if (!(setting.key in settings)) {
        if (setting.required) throw new Error(setting.key + " is required");
        settings[setting.key] = setting.default;
    }
}
context.compileJob({ settings, addTask: (task) => tasks.push(task) });
console.log(JSON.stringify({ type: context.JOB_TYPE, tasks }));
"""


@pytest.fixture(scope="module")
def flamenco() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Compile a job with settings under node, with a stand-in for Flamenco's `author`."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed")

    def compile_job(**settings: Any) -> subprocess.CompletedProcess[str]:
        command = [node, "-e", HARNESS, "--", str(FLAMENCO), json.dumps(settings)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return compile_job


SETTINGS = {"shot": "/s/a.blend", "job_folder": "/s/job", "addon": "/s/addon", "edits": "0-1"}


def test_the_flamenco_job_has_the_commands_of_the_template(
    flamenco: Callable[..., subprocess.CompletedProcess[str]], template: dict[str, Any]
) -> None:
    done = flamenco(**SETTINGS, batches="0-2,5", batches_per_task=2)
    assert done.returncode == 0, done.stderr
    tasks = {task["name"]: task for task in json.loads(done.stdout)["tasks"]}
    names = ["extract-0", "extract-1", "invert-0-1", "invert-2", "invert-5"]
    assert list(tasks) == [*names, "edit-0", "edit-1", "assemble"]
    assert tasks["invert-2"]["needs"] == ["extract-0", "extract-1"]
    assert tasks["edit-1"]["needs"] == names[2:]
    assert tasks["assemble"]["needs"] == ["edit-0", "edit-1"]

    values = {
        "Param.Shot": "/s/a.blend",
        "Param.JobFolder": "/s/job",
        "Param.AddOn": "/s/addon",
        "Param.Blender": "blender",
        "Param.EnginePython": "python3",
        "Task.Param.Edit": "1",
        "Task.Param.Batch": "0-1",
    }
    tasks_of_steps = ("extract-1", "invert-0-1", "edit-1", "assemble")
    for step, name in zip(template["steps"], tasks_of_steps, strict=True):
        action = step["script"]["actions"]["onRun"]
        exe, args = action["command"], list(action["args"])
        # Flamenco maps paths itself and reads no lines of Open Job Description.
        at = args.index("--path-mapping")
        del args[at : at + 2]
        args.remove("--openjd")
        for key, value in values.items():
            exe = exe.replace(f"{{{{{key}}}}}", value)
            args = [text.replace(f"{{{{{key}}}}}", value) for text in args]
        (command,) = tasks[name]["commands"]
        assert command == {"name": "exec", "parameters": {"exe": exe, "args": args}}


def test_flamenco_settings_are_those_of_the_parameter_list_and_bad_ranges_are_refused(
    flamenco: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    source = FLAMENCO.read_text("utf-8")
    assert with_settings(source) == source, "write it anew: python3 run.py tokenflow farm flamenco"
    for wrong in ("", "a", "3-1", "0--1"):
        done = flamenco(**SETTINGS, batches=wrong)
        assert done.returncode != 0 and "is not of the form" in done.stderr
    assert "batches is required" in flamenco(**SETTINGS).stderr
