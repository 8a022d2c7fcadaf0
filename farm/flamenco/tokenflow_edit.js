/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * TokenFlow Edit as a Flamenco job type: the edits of an edit list, extract > invert > edit >
 * assemble. Copy this file into the folder `scripts` beside the Flamenco Manager.
 *
 * The tasks are those of farm/tokenflow_edit.yaml; a test compares them.
 */

const JOB_TYPE = {
    label: "TokenFlow Edit",
    description: "Edit video strips by text, from an exported edit list",
    // Written by `python3 run.py tokenflow farm flamenco`; change parameters.py instead.
    settings: [
        { key: "shot", type: "string", subtype: "file_path", required: true, description: "The .blend with the strips; it is only read" },
        { key: "job_folder", type: "string", subtype: "dir_path", required: true, description: "Folder on shared storage that holds edit_list.json and receives all results" },
        { key: "edits", type: "string", required: true, description: "Numbers of the edits in the edit list, such as 0-9" },
        { key: "batches", type: "string", required: true, description: "Numbers of the batches of all edits, such as 0-119" },
        { key: "pieces", type: "string", required: true, description: "Numbers of the pieces of all edits, such as 0-19" },
        { key: "batches_per_task", type: "int32", required: false, default: 8, description: "Batches that one inversion task takes; a farm may change it to suit its pace" },
        { key: "addon", type: "string", subtype: "dir_path", required: true, description: "Folder of the add-on (an unpacked zip or a checkout) as the workers see it" },
        { key: "blender", type: "string", required: false, default: "blender", description: "Blender's program on the workers, 4.5 or newer" },
        { key: "engine_python", type: "string", required: false, default: "python3", description: "The Python of the engine's environment on the workers" },
    ],
};

// "0-3,7" as [0, 1, 2, 3, 7].
function numbersOf(range) {
    const numbers = [];
    for (const part of String(range).split(",")) {
        const bounds = part.trim().split("-");
        const first = Number(bounds[0]);
        const last = Number(bounds[bounds.length - 1]);
        const good = bounds.length <= 2 && bounds.every((b) => /^[0-9]+$/.test(b)) && first <= last;
        if (!good) {
            throw new Error("\"" + range + "\" is not of the form 0-9 or 0-2,7");
        }
        for (let number = first; number <= last; number++) {
            numbers.push(number);
        }
    }
    return numbers;
}

// [0, 1, 2, 3, 7] by three as ["0-2", "3", "7"]: each holds neighbours only.
function chunksOf(numbers, size) {
    const chunks = [];
    let first = null;
    let last = null;
    for (const number of numbers) {
        if (first !== null && number === last + 1 && number - first < size) {
            last = number;
            continue;
        }
        if (first !== null) {
            chunks.push(first === last ? String(first) : first + "-" + last);
        }
        first = last = number;
    }
    if (first !== null) {
        chunks.push(first === last ? String(first) : first + "-" + last);
    }
    return chunks;
}

function blenderTask(settings, name, verb, more) {
    const task = author.Task(name, "blender");
    const script = settings.addon + "/farm/tokenflow_command.py";
    const before = ["-b", settings.shot, "--python-exit-code", "1", "-P", script, "--"];
    const args = before.concat([verb, "--job", settings.job_folder], more);
    task.addCommand(author.Command("exec", { exe: settings.blender, args: args }));
    return task;
}

function engineTask(settings, name, verb, more) {
    const task = author.Task(name, "misc");
    const script = settings.addon + "/farm/engine_command.py";
    const args = [script, "farm", "step", verb, "--job", settings.job_folder].concat(more);
    task.addCommand(author.Command("exec", { exe: settings.engine_python, args: args }));
    return task;
}

function compileJob(job) {
    const settings = job.settings;
    const edits = numbersOf(settings.edits);
    const batches = chunksOf(numbersOf(settings.batches), settings.batches_per_task);

    const extracted = edits.map((edit) =>
        blenderTask(settings, "extract-" + edit, "extract", ["--number", String(edit)]));
    const inverted = batches.map((range) =>
        engineTask(settings, "invert-" + range, "invert", ["--batches", range]));
    const edited = numbersOf(settings.pieces).map((piece) =>
        engineTask(settings, "edit-" + piece, "render", ["--pieces", String(piece)]));
    const assembled = [blenderTask(settings, "assemble", "assemble", [])];

    const steps = [extracted, inverted, edited, assembled];
    steps.forEach((tasks, index) => {
        for (const task of tasks) {
            const before = index > 0 ? steps[index - 1] : [];
            before.forEach((earlier) => task.addDependency(earlier));
            job.addTask(task);
        }
    });
}
