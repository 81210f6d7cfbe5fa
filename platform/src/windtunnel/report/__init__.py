"""The report: what is known of one lifecycle, as one HTML page that needs nothing else.

`gather` reads the object store; all else here is pure. Pictures are inline SVG; there is no script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report.page import page
from windtunnel.report.subject import gather

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.objects import ObjectStore

__all__ = ["render_report"]


def render_report(store: ObjectStore, lifecycle: str, now: datetime | None = None) -> str:
    """The page of a lifecycle as it stands now. Raises NotFoundError for a lifecycle of which the store knows
    nothing, StoreError.
    """
    return page(gather(store, lifecycle, now))
