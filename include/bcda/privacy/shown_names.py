"""Names that come from the data, as messages, reports and the page may show them.

A code in a claim can be anything that a server sends. So only the codes that CMS defines are named, and all others together are
`OTHER`; the published database has them as they came.
"""

from typing import Final

CLAIM_TYPES: Final = ("INPATIENT", "OUTPATIENT", "SNF", "HOSPICE", "HHA", "CARRIER", "DME", "PDE")
"""Claim types. Source: code system eob-type of Blue Button."""

OTHER: Final = "OTHER"
"""What stands for all claim types that are none of these."""

WITHOUT_PAYMENT: Final = "PDE"
"""Drug events have no Medicare payment."""


def claim_type(code: str) -> str:
    """Return a claim type as it may be shown."""
    return code if code in CLAIM_TYPES else OTHER


def scope(text: str, known: frozenset[str]) -> str:
    """Return the part of the data that a check is about, as it may be shown.

    Args:
        text: a claim type, a claim type and a column (`SNF.drg_code`), a resource type, or a name of the check itself.
        known: names that are no data.
    """
    head, dot, column = text.partition(".")
    if not head or text in known:
        return text
    return f"{head if head in known else claim_type(head)}{dot}{column if column in known else ''}"
