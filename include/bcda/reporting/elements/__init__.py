"""Which elements of resources have a column: each value is changed, landed, and looked for in the rows."""

from bcda.reporting.elements.report import Element, element_report, typed_share

__all__ = ["Element", "element_report", "typed_share"]
