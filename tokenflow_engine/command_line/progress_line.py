"""Progress on a terminal: one line that is rewritten, or one line a phase in a log."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from ..client.progress import Progress

BAR = 24


class ProgressLine:
    """Shows phase, share and time left; the line ends when the block does."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._shown = ""
        self._quarter: tuple[str, int] | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live and self._shown:
            self._stream.write("\n")

    def show(self, progress: Progress) -> None:
        """Rewrite the line; where the stream is no terminal, add one at each quarter of a phase."""
        text = spoken(progress)
        if self._live:
            self._stream.write(f"\r{text:<{len(self._shown)}}")
            self._shown = text
        else:
            quarter = (progress.phase, 4 * progress.done // progress.total)
            if quarter == self._quarter:
                return
            self._quarter = quarter
            self._stream.write(f"{text}\n")
        self._stream.flush()


def spoken(progress: Progress) -> str:
    """For example "invert      [######......] 25%, 1:05 left"."""
    share = progress.done / progress.total
    bar = "#" * round(BAR * share)
    left = ""
    if progress.eta_seconds is not None:
        minutes, seconds = divmod(round(progress.eta_seconds), 60)
        left = f", {minutes}:{seconds:02d} left"
    return f"{progress.phase:<10} [{bar:.<{BAR}}] {share:4.0%}{left}"
