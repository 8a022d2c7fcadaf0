"""Base editors by the name that an `EditRequest` gives."""

from . import pnp, sdedit
from .plan import Editor

PLANS: dict[str, Editor] = {"pnp": pnp.plan, "sdedit": sdedit.plan}
