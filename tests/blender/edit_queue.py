"""The queue with a real engine process that does what its prompt says: order, ends, records.

What is proven with the real model is in `real_edit`; here edits end when the check wants them to.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import bpy
from project import add_images, add_movie, choose, new_project, room, scripted_engine

TESTS = Path(__file__).resolve().parents[1]
EDITED = 2
"""Frames that each edit has."""


def _queue():
    return room("sequencer.queue_timer").edit_queue()


def _strip(name: str, channel: int) -> bpy.types.Strip:
    strip = add_movie(channel=channel, name=name)
    if hasattr(strip, "right_handle"):
        strip.right_handle = 1 + EDITED
    else:
        strip.frame_final_end = 1 + EDITED
    return strip


def _project(work: Path, strips: int = 1) -> list[str]:
    """A saved project with strips, and a queue without edits. The strips' names."""
    scripted_engine()
    _forget_all()
    names = [f"strip {number}" for number in range(strips)]
    for number, name in enumerate(names):
        _strip(name, 1 + 3 * number)
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    return names


def _forget_all() -> None:
    for edit in list(_queue().edits):
        _queue().cancel(edit)
    # Some edits of the scripted engine heed no cancelling.
    _queue().stop_engine()
    _poll_until(lambda: not _queue().unfinished)
    for edit in list(_queue().edits):
        _queue().dismiss(edit)


def _start(name: str, prompt: str = "write"):
    """Queue an edit as a click in the window does."""
    scene = bpy.context.scene
    scene.tokenflow.prompt = prompt
    # Any but the embedded model, which refuses words that it does not know.
    scene.tokenflow.model_folder = str(TESTS)
    template = room("sequencer.settings").request_template(scene.tokenflow)
    strip = choose(scene.sequence_editor.strips_all[name])
    return _queue().start(scene, strip, template, here=False)


def _poll_until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, [e.seen for e in _queue().edits]
        _queue().poll()
        time.sleep(0.005)


def _runs(edit) -> bool:
    return edit.job is not None and edit.job.state.name == "RUNNING"


def _end(edit) -> str:
    _poll_until(lambda: edit.stage.finished)
    return edit.stage.name


def _crash() -> None:
    """Go on as another Blender would after this one was killed: its lock free, its records there.

    The engine and the readings of the killed one end with it.
    """
    timer = room("sequencer.queue_timer")
    old = timer.edit_queue()
    old.poll()
    for lock in old._store._locks.values():
        lock.close()
    for edit in old.unfinished:
        edit.reading.close()
    old.engine.close()
    store = room("sequencer.queue_store").QueueStore(old._store._root)
    timer._queue = room("sequencer.edit_queue").EditQueue(store)
    timer._queue.recover()


def _reopen(work: Path) -> None:
    bpy.ops.wm.open_mainfile(filepath=str(work / "shot.blend"))


def _results() -> list[str]:
    strips = bpy.context.scene.sequence_editor.strips_all
    return sorted(strip.name for strip in strips if strip.type == "IMAGE")


def test_waiting_edits_run_in_the_order_they_are_moved_to(work: Path) -> None:
    names = _project(work, 4)
    edits = [_start(names[0], "steps 50"), *(_start(name, "steps 10") for name in names[1:])]
    _poll_until(lambda: _runs(edits[0]) and all(e.job is not None for e in edits[1:3]))
    _queue().move(edits[3], -1)
    _queue().move(edits[1], 2)
    assert [e.strip_name for e in _queue().edits] == [names[n] for n in (0, 3, 2, 1)]
    ended = []

    def all_have_ended() -> bool:
        ended.extend(e for e in edits if e.stage.finished and e not in ended)
        return len(ended) == len(edits)

    _poll_until(all_have_ended)
    # What the engine had already and what was still to be read keep one order.
    assert ended.index(edits[2]) < ended.index(edits[1])
    assert all(e.stage.name == "DONE" for e in edits[1:]), [e.error for e in edits]


def test_an_edit_moved_while_it_is_read_comes_before_those_the_engine_has(work: Path) -> None:
    names = _project(work, 3)
    first, second = _start(names[0], "steps 100"), _start(names[1], "steps 5")
    _poll_until(lambda: _runs(first) and second.job is not None)
    third = _start(names[2], "steps 5")
    _poll_until(lambda: third.stage.name == "READING")
    _queue().move(third, -1)
    _poll_until(lambda: second.stage.finished or third.stage.finished)
    assert third.stage.name == "DONE", third.error
    assert not second.stage.finished


def test_the_edit_that_runs_stays_where_it_is(work: Path) -> None:
    names = _project(work, 2)
    first, second = _start(names[0], "hang"), _start(names[1])
    _poll_until(lambda: _runs(first) and second.job is not None)
    _queue().move(second, -1)
    assert _queue().edits == [first, second]
    _queue().move(first, 1)
    assert _queue().edits == [first, second]


def test_only_one_strip_is_read_at_a_time_and_few_ahead(work: Path) -> None:
    names = _project(work, 6)
    edits = [_start(name, "steps 500") for name in names]
    seen = []
    deadline = time.monotonic() + 60
    while sum(e.stage.name == "ENGINE" for e in edits) < 3:
        assert time.monotonic() < deadline
        _queue().poll()
        seen.append(sum(e.stage.name == "READING" for e in edits))
    assert max(seen) == 1
    for _turn in range(20):
        _queue().poll()
    stages = [e.stage.name for e in edits]
    assert stages == ["ENGINE"] * 3 + ["WAITING"] * 3, stages


def test_all_are_cancelled_and_none_begins_after_that(work: Path) -> None:
    names = _project(work, 4)
    edits = [_start(name, "steps 500") for name in names]
    _poll_until(lambda: _runs(edits[0]))
    assert bpy.ops.tokenflow.cancel_all() == {"FINISHED"}
    assert all(e.cancel_requested for e in edits)
    assert [_end(e) for e in edits] == ["CANCELLED"] * 4
    assert not any(e.job is not None and e.job.progress for e in edits[1:])
    assert not _results()


def test_a_cancelled_edit_is_retried_with_the_same_values(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "steps 500")
    _poll_until(lambda: _runs(edit))
    _queue().cancel(edit)
    assert _end(edit) == "CANCELLED"
    before = edit.request
    edit.request = edit.request.__class__(**{**before.to_json(), "prompt": "write"})
    assert bpy.ops.tokenflow.retry_edit(edit_id=edit.id) == {"FINISHED"}
    assert _end(edit) == "DONE", edit.error
    assert (edit.request.seed, edit.request.output) == (before.seed, before.output)
    assert _results() == [f"{name} TokenFlow"]


def test_a_retry_leaves_the_folder_alone_that_a_later_edit_has_taken(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "raise")
    assert _end(edit) == "FAILED"
    later = _start(name)
    assert _end(later) == "DONE"
    assert later.request.output == edit.request.output
    edit.request = edit.request.__class__(**{**edit.request.to_json(), "prompt": "write"})
    _queue().retry(edit)
    assert _end(edit) == "DONE"
    assert edit.result.output != later.result.output


def test_the_engine_killed_fails_the_edit_it_worked_on_and_the_others_run(work: Path) -> None:
    names = _project(work, 3)
    edits = [_start(names[0], "hang"), _start(names[1]), _start(names[2])]
    _poll_until(lambda: _runs(edits[0]) and all(e.job is not None for e in edits))
    killed = _queue().engine.pid
    os.kill(killed, signal.SIGKILL)
    assert _end(edits[0]) == "FAILED"
    assert edits[0].error.code == "engine_lost"
    assert [_end(e) for e in edits[1:]] == ["DONE", "DONE"]
    assert _queue().engine.pid != killed
    edits[0].request = edits[1].request.__class__(
        **{**edits[0].request.to_json(), "prompt": "write"}
    )
    _queue().retry(edits[0])
    # What was read before the engine died is not read again.
    assert edits[0].reading.finished
    assert _end(edits[0]) == "DONE"


def test_a_blender_that_crashed_gives_its_edits_back_and_they_are_resumed(work: Path) -> None:
    names = _project(work, 3)
    edits = [_start(names[0], "steps 500"), _start(names[1]), _start(names[2])]
    _poll_until(lambda: _runs(edits[0]) and edits[2].job is not None)
    ids = [e.id for e in edits]
    # The marks that the clicks made were never saved.
    _reopen(work)
    _crash()
    left = _queue().edits
    assert [e.id for e in left] == ids
    assert [e.stage.name for e in left] == ["INTERRUPTED"] * 3
    left[0].request = left[0].request.__class__(**{**left[0].request.to_json(), "prompt": "write"})
    assert bpy.ops.tokenflow.retry_all() == {"FINISHED"}
    assert [_end(e) for e in list(_queue().edits)] == ["DONE"] * 3, [e.error for e in left]
    assert _results() == sorted(f"{name} TokenFlow" for name in names)


def test_frames_that_were_read_before_the_crash_need_no_project(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "steps 20")
    _poll_until(lambda: _runs(edit))
    new_project()
    _crash()
    (left,) = _queue().edits
    assert left.reading.finished
    _queue().retry(left)
    assert _end(left) == "UNPLACED"
    assert '"shot.blend", which is not open' in left.error.message
    _reopen(work)
    assert bpy.ops.tokenflow.place_result(edit_id=left.id) == {"FINISHED"}
    assert left.stage.name == "DONE"


def test_a_strip_not_yet_read_asks_for_its_project(work: Path) -> None:
    names = _project(work, 2)
    _start(names[0], "hang")
    edit = _start(names[1])
    new_project()
    _crash()
    left = _queue().find(edit.id)
    assert left.stage.name == "INTERRUPTED"
    try:
        _queue().retry(left)
    except Exception as error:
        assert "Open shot.blend" in str(error)
    else:
        raise AssertionError("it was read from nowhere")
    assert left.stage.name == "INTERRUPTED"


def test_a_result_that_was_never_saved_is_offered_again_and_never_twice(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name)
    assert _end(edit) == "DONE"
    assert len(_results()) == 1
    # The crash takes the placed strip along.
    _reopen(work)
    assert not _results()
    _crash()
    (left,) = _queue().edits
    assert left.stage.name == "UNPLACED"
    _queue().place(left)
    assert left.stage.name == "DONE"
    assert len(_results()) == 1
    _queue().place(left)
    assert len(_results()) == 1
    # Once it is saved with the project there is nothing left to come back.
    bpy.ops.wm.save_mainfile()
    _crash()
    assert not _queue().edits
    _reopen(work)
    assert len(_results()) == 1


def test_reverting_the_project_offers_the_result_again(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name)
    assert _end(edit) == "DONE"
    _reopen(work)
    assert edit.stage.name == "UNPLACED"
    assert bpy.ops.tokenflow.place_result(edit_id=edit.id) == {"FINISHED"}
    assert len(_results()) == 1


def test_a_result_waits_while_another_project_is_open(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "steps 20")
    _poll_until(lambda: _runs(edit))
    new_project()
    # Another project with a strip and a scene of the same names is still another project.
    _strip(name, 1)
    assert _end(edit) == "UNPLACED"
    assert not _results()
    assert edit.result.output in edit.error.remedy
    buttons = [b.operator for b in room("operators.remedies").remedies(edit.error, edit)]
    assert buttons[:3] == [
        "tokenflow.open_project",
        "tokenflow.place_result",
        "tokenflow.open_frames",
    ]


def test_an_edit_follows_its_project_to_another_name(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "steps 20")
    _poll_until(lambda: _runs(edit))
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "copy.blend"), copy=True)
    assert Path(edit.blend).name == "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "other.blend"))
    assert Path(edit.blend).name == "other.blend"
    assert _end(edit) == "DONE"


def test_a_deleted_strip_leaves_a_result_that_can_be_placed_without_it(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "steps 20")
    _poll_until(lambda: _runs(edit))
    strips = bpy.context.scene.sequence_editor.strips
    strips.remove(strips[name])
    assert _end(edit) == "UNPLACED"
    assert "is gone" in edit.error.message
    assert bpy.ops.tokenflow.place_result(edit_id=edit.id) == {"FINISHED"}
    (result,) = strips
    timing = room("sequencer.compatibility")
    assert (timing.left_handle(result), timing.right_handle(result)) == (1, 1 + EDITED)
    assert result.tokenflow.source_name == name


def test_frames_deleted_meanwhile_are_said(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name)
    assert _end(edit) == "DONE"
    _reopen(work)
    (Path(edit.result.output) / "00001.png").unlink()
    try:
        bpy.ops.tokenflow.place_result(edit_id=edit.id)
    except RuntimeError as error:
        assert "00001.png is missing" in str(error)
    else:
        raise AssertionError("a strip without its frames was placed")
    assert not _results()


def test_the_scene_of_a_running_edit_is_switched_renamed_and_removed(work: Path) -> None:
    names = _project(work, 2)
    first, second = _start(names[0], "steps 20"), _start(names[1], "steps 20")
    _poll_until(lambda: _runs(first))
    source = bpy.context.scene
    source.name = "Cut 7"
    other = bpy.data.scenes.new("Other")
    if bpy.context.window is not None:
        bpy.context.window.scene = other
    assert _end(first) == "DONE"
    assert first.result_name in bpy.data.scenes["Cut 7"].sequence_editor.strips
    bpy.data.scenes.remove(source)
    assert _end(second) == "UNPLACED"
    assert "is gone" in second.error.message


def test_two_blenders_do_not_show_each_others_edits(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "hang")
    _poll_until(lambda: _runs(edit))
    store = room("sequencer.queue_store").QueueStore(_queue()._store._root)
    other = room("sequencer.edit_queue").EditQueue(store)
    other.recover()
    assert not other.edits
    other.close()


def test_a_damaged_record_is_passed_over_and_goes(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name)
    assert _end(edit) == "DONE"
    time.sleep(0.2)
    record = edit.work / "edit.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "request": {"prompt": 3}}))
    _queue().edits.clear()
    _queue()._kept.clear()
    _crash()
    assert not _queue().edits
    _poll_until(lambda: not edit.work.exists())


def test_a_folder_that_a_crash_left_without_a_record_is_cleared(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "hang")
    _poll_until(lambda: _runs(edit))
    orphan = edit.work.with_name("orphan")
    (orphan / "frames").mkdir(parents=True)
    _crash()
    assert [left.id for left in _queue().edits] == [edit.id]
    _poll_until(lambda: not orphan.exists(), 10)


def test_dismissed_edits_leave_no_files(work: Path) -> None:
    names = _project(work, 2)
    failed, done = _start(names[0], "raise"), _start(names[1])
    assert (_end(failed), _end(done)) == ("FAILED", "DONE")
    for edit in (failed, done):
        assert bpy.ops.tokenflow.dismiss_edit(edit_id=edit.id) == {"FINISHED"}
    _poll_until(lambda: not failed.work.exists() and not done.work.exists(), 10)
    assert (Path(done.result.output) / "00000.png").is_file()


def test_every_error_has_a_sentence_a_remedy_and_a_button(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "raise")
    assert _end(edit) == "FAILED"
    errors = room("tokenflow_engine.client.errors")
    remedies = room("operators.remedies").remedies
    first = {}
    for code in errors.EXIT_CODES:
        for whose in (edit, None):
            buttons = remedies(errors.TokenFlowError(code, "It failed.", "Do this."), whose)
            assert buttons[-1].operator == "tokenflow.copy_report"
            for button in buttons:
                group, operator = button.operator.split(".")
                assert getattr(getattr(bpy.ops, group), operator).get_rna_type()
            if whose is edit:
                first[code] = buttons[0].operator
    assert first["engine_missing"] == "tokenflow.show_preferences"
    assert first["no_space"] == "tokenflow.choose_folder"
    assert first["unreadable_source"] == "tokenflow.select_source"
    assert first["unknown_model"] == first["unknown_words"] == "tokenflow.choose_model"
    assert first["internal"] == "tokenflow.retry_edit"


def test_out_of_memory_is_retried_at_a_smaller_size_by_its_button(work: Path) -> None:
    strip_name = _project(work)[0]
    settings = bpy.context.scene.tokenflow
    settings.use_size, settings.size = True, (512, 320)
    edit = _start(strip_name, "memory")
    assert _end(edit) == "FAILED"
    assert edit.error.code == "out_of_memory"
    button = room("operators.remedies").remedies(edit.error, edit)[0]
    assert button.text == "Retry at 384 x 240"
    assert bpy.ops.tokenflow.retry_smaller(edit_id=edit.id) == {"FINISHED"}
    assert edit.request.size == (384, 240)
    assert edit.stage.name == "WAITING"
    # The engine was asked at that size.
    _poll_until(lambda: edit.job is not None)
    assert edit.job.request.size == (384, 240)
    settings.use_size = False


def test_an_edit_that_heeds_no_cancel_is_ended_with_its_engine_and_the_others_run(
    work: Path,
) -> None:
    names = _project(work, 2)
    stuck, other = _start(names[0], "hang"), _start(names[1])
    _poll_until(lambda: _runs(stuck) and other.job is not None)
    _queue().cancel(stuck)
    assert stuck.cancel_requested and not stuck.stage.finished
    assert bpy.ops.tokenflow.stop_engine() == {"FINISHED"}
    assert stuck.stage.name == "CANCELLED"
    assert _end(other) == "DONE", other.error


def test_the_report_holds_what_a_developer_asks_for(work: Path) -> None:
    (name,) = _project(work)
    edit = _start(name, "raise")
    assert _end(edit) == "FAILED"
    report = room("operators.remedies").report_of(edit.error, edit)
    for part in ("internal:", bpy.app.version_string, "prompt: raise", "ZeroDivisionError"):
        assert part in report, report


def test_the_rows_of_the_list_follow_the_queue(work: Path) -> None:
    names = _project(work, 2)
    show, shown = room("sequencer.queue_timer").show_queue, bpy.context.window_manager
    show()
    assert not shown.tokenflow_queue.rows
    edits = [_start(names[0], "hang"), _start(names[1])]
    show()
    assert [row.edit_id for row in shown.tokenflow_queue.rows] == [e.id for e in edits]
    _queue().cancel(edits[1])
    _end(edits[1])
    shown.tokenflow_queue.active = 1
    bpy.ops.tokenflow.dismiss_edit(edit_id=edits[1].id)
    assert room("sequencer.queue_rows").chosen_id(shown) == edits[0].id
    show()


def test_images_of_a_retry_come_from_the_strip_as_it_is_now(work: Path) -> None:
    _project(work)
    images = add_images(channel=9)
    edit = _start(images.name, "steps 500")
    _poll_until(lambda: _runs(edit))
    _queue().cancel(edit)
    assert _end(edit) == "CANCELLED"
    if hasattr(images, "right_handle"):
        images.right_handle = 4
    else:
        images.frame_final_end = 4
    _queue().retry(edit)
    assert edit.frames.count == 3
    _queue().cancel(edit)
