"""Plug-and-Play (Tumanyan et al., CVPR 2023, arXiv:2211.12572).

Structure is kept by injecting the source's features and its self-attention's queries and keys into
the decoder during the first steps.
"""

from __future__ import annotations

from ..client.edit_request import EditRequest
from .plan import EditPlan


def plan(request: EditRequest, timesteps: tuple[int, ...]) -> EditPlan:
    """All steps, with injection in the first `pnp_attention` and `pnp_features` of them."""
    steps = len(timesteps)
    return EditPlan(
        timesteps,
        attention_steps=int(steps * request.pnp_attention),
        feature_steps=int(steps * request.pnp_features),
    )
