"""SDEdit (Meng et al., ICLR 2022, arXiv:2108.01073): start from a partly noised source."""

from __future__ import annotations

from ..client.edit_request import EditRequest
from .plan import EditPlan


def plan(request: EditRequest, timesteps: tuple[int, ...]) -> EditPlan:
    """The last `sdedit_start` of the steps, without injection.

    Mode "reference" runs one step fewer, as the released code does: it slices the timesteps at
    `int(1 - start * N)`.
    """
    steps = round(request.sdedit_start * len(timesteps))
    if request.mode == "reference":
        steps = -int(1 - request.sdedit_start * len(timesteps))
    return EditPlan(timesteps[len(timesteps) - max(1, steps) :])
