"""Work beside the model's: what waits for what, where errors come out, what is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tokenflow_engine.media.latents import LatentStore
from tokenflow_engine.phases.beside import ReadAhead, WriteBehind, by_all_cores, writing_behind
from tokenflow_engine.phases.correspond import LAYOUT, Correspondences, FramesOfStep

SOON = 30.0
"""Seconds after which a test gives up waiting."""


def test_the_next_value_is_read_while_the_one_before_is_in_use() -> None:
    begun = {key: threading.Event() for key in "abc"}

    def read(key: str) -> tuple[str, str]:
        begun[key].set()
        return key, threading.current_thread().name

    ahead = ReadAhead(read)
    ahead.expect("abc")
    for key, following in zip("ab", "bc", strict=True):
        value, thread = ahead.take(key)
        assert value == key and thread != threading.current_thread().name
        assert begun[following].wait(SOON)
    assert ahead.take("c")[0] == "c"


def test_only_one_value_is_read_ahead() -> None:
    read: list[int] = []
    ahead: ReadAhead[int, None] = ReadAhead(read.append)
    ahead.expect(range(100))
    ahead.take(0)
    ahead.take(1)
    assert read in ([0, 1], [0, 1, 2])


def test_what_was_not_expected_is_read_on_the_spot_and_the_rest_still_ahead() -> None:
    ahead = ReadAhead(lambda key: (key, threading.current_thread()))
    ahead.expect(["a", "b"])
    assert ahead.take("x") == ("x", threading.current_thread())
    assert ahead.take("a")[1] is not threading.current_thread()
    ahead.expect(["c"])
    assert ahead.take("b") == ("b", threading.current_thread())


def test_what_reading_raises_comes_out_where_the_value_is_taken() -> None:
    def read(key: int) -> float:
        return 1 / key

    ahead = ReadAhead(read)
    ahead.expect([0, 1])
    with pytest.raises(ZeroDivisionError):
        ahead.take(0)


def failing(error: Exception) -> Callable[[], None]:
    def write() -> None:
        raise error

    return write


def waiting(gate: threading.Event, written: list[int]) -> Callable[[], None]:
    def write() -> None:
        gate.wait(SOON)
        written.append(1)

    return write


def test_writes_are_done_in_order_and_all_of_them_when_the_context_is_left() -> None:
    written: list[int] = []
    with writing_behind() as write_behind:
        for number in range(50):
            write_behind(lambda number=number: written.append(number))  # type: ignore[misc]
    assert written == list(range(50))


def test_no_more_than_one_write_waits() -> None:
    gate, second = threading.Event(), threading.Event()

    def fill(write_behind: WriteBehind) -> None:
        write_behind(lambda: None)
        second.set()

    with writing_behind() as write_behind:
        write_behind(waiting(gate, []))
        filler = threading.Thread(target=fill, args=(write_behind,))
        filler.start()
        assert not second.wait(0.2)
        gate.set()
        assert second.wait(SOON)
        filler.join()


def test_an_error_of_a_write_is_raised_by_the_next_or_on_leaving() -> None:
    with pytest.raises(OSError, match="full"), writing_behind() as write_behind:
        write_behind(failing(OSError("full")))
        write_behind(lambda: pytest.fail("must not be written"))
    with pytest.raises(OSError, match="full"), writing_behind() as write_behind:
        write_behind(failing(OSError("full")))


def test_an_error_within_waits_for_the_write_that_was_begun_and_hides_nothing() -> None:
    gate, written = threading.Event(), list[int]()
    with pytest.raises(KeyboardInterrupt), writing_behind() as write_behind:
        write_behind(waiting(gate, written))
        gate.set()
        raise KeyboardInterrupt
    assert written == [1]
    with pytest.raises(KeyboardInterrupt), writing_behind() as write_behind:
        write_behind(failing(OSError("full")))
        raise KeyboardInterrupt


@pytest.mark.parametrize(("stored", "largest"), [("uint16", 2**16 - 1), ("uint32", 2**31 + 5)])
def test_fields_come_out_as_the_tokens_numbers_however_they_are_stored(
    stored: str, largest: int, tmp_path: Path
) -> None:
    store = LatentStore(tmp_path)
    fields = np.array([[[0, 1, largest], [largest, 2, 3]]] * 2, dtype=stored)
    for name, array in ((LAYOUT, np.array([2, 1])), ("fields004", fields)):
        store.create(name, array.shape, array.dtype)
        store.write(name, slice(None), array)
    model = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
    run: Any = SimpleNamespace(model=model, propagated_rows=lambda step, frames: [0])
    asked = FramesOfStep(4, (7,), features=False)
    found, features = Correspondences(run, store, ("fine", "coarse")).of(asked)
    assert features is None
    assert found["fine"].tolist() == [[[0, 1], [largest, 2]]]
    assert found["coarse"].tolist() == [[[largest], [3]]]


def test_all_cores_work_on_frames_whose_results_come_in_order() -> None:
    threads = torch.get_num_threads()
    drawn: list[int] = []
    together = threading.Barrier(threads)

    def items() -> Iterator[int]:
        for number in range(4 * threads):
            drawn.append(number)
            yield number

    def work(number: int) -> int:
        together.wait(SOON)
        return number * number

    results = by_all_cores(work, items())
    assert next(results) == 0
    assert len(drawn) == threads + 1, "no more than can be worked on are drawn"
    assert list(results) == [number * number for number in range(1, 4 * threads)]


def test_an_error_on_one_frame_is_raised_in_its_turn() -> None:
    def work(number: int) -> int:
        return 6 // number

    results = by_all_cores(work, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
