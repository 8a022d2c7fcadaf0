"""The engine's process from its first socket to its end."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..client.endpoint import Endpoint, private_folder
from ..client.protocol import TOKEN_BYTES
from .job_queue import JobQueue
from .listener import listen
from .methods import EngineMethods
from .owner import OwnerWatch, when_input_ends
from .runner import RunEdit, release_models, run_edit
from .server import EngineServer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServiceOptions:
    """How an engine runs.

    runtime: private folder for the endpoint file and the socket.
    owner_pid: process that the engine must not outlive, None for an engine on its own.
    idle_seconds: time without an edit after which loaded models are released.
    exit_idle_seconds: time without a client and an edit after which the engine ends.
    grace_seconds: time for a cancelled edit to clean up before the process ends regardless; one
        UNet call of a large model on a CPU may take longer.
    """

    runtime: Path
    owner_pid: int | None = None
    idle_seconds: float = 600.0
    exit_idle_seconds: float | None = None
    grace_seconds: float = 5.0


def serve(
    options: ServiceOptions,
    edit: RunEdit = run_edit,
    release: Callable[[], None] = release_models,
) -> int:
    """Run an engine until it is asked to end, its owner is gone or another one replaces it.

    Does not return while the worker is stuck in an edit: the process is then ended here.

    Raises:
        TokenFlowError: code "bad_request", if the runtime folder cannot be used.
        OSError: no socket can be opened.
    """
    runtime = private_folder(options.runtime)
    listener = listen(runtime)
    endpoint = Endpoint(listener.address, secrets.token_bytes(TOKEN_BYTES), os.getpid())
    owner = None if options.owner_pid is None else OwnerWatch(options.owner_pid)
    last_wanted = time.monotonic()

    def tick() -> None:
        nonlocal last_wanted
        if server.has_peers or not queue.is_idle:
            last_wanted = time.monotonic()
        if owner is not None and owner.gone:
            log.info("the owner is gone")
            server.stop()
        elif not server.has_peers and queue.is_idle and Endpoint.read(runtime) != endpoint:
            log.info("nobody can find this engine any more")
            server.stop()
        elif (
            options.exit_idle_seconds is not None
            and time.monotonic() - last_wanted > options.exit_idle_seconds
        ):
            log.info("nobody has wanted anything for %g s", options.exit_idle_seconds)
            server.stop()

    server = EngineServer(listener, endpoint, tick)
    queue = JobQueue(edit, server.announce, release, options.idle_seconds)
    try:
        endpoint.write(runtime)
        _stop_on_signals(server)
        if owner is not None:
            when_input_ends(server.stop)
        queue.start()
        log.info("engine %d listens at %s", endpoint.pid, endpoint.address)
        server.run(EngineMethods(queue, runtime))
    finally:
        # First of all, so that nobody connects to an engine that is ending.
        with contextlib.suppress(OSError):
            endpoint.remove(runtime)
        finished = queue.stop(options.grace_seconds)
        server.close()
        log.info("engine %d ends", endpoint.pid)
        if not finished:
            logging.shutdown()
            os._exit(0)
    return 0


def _stop_on_signals(server: EngineServer) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
