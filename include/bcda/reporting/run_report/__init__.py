"""The run report: what a load was asked for, what came and what it changed, as one HTML file and a short text."""

from bcda.reporting.run_report.document import Document, document_of
from bcda.reporting.run_report.facts import RunFacts, is_loaded, read_facts
from bcda.reporting.run_report.files import WrittenReport, report_paths, write_report

__all__ = [
    "Document",
    "RunFacts",
    "WrittenReport",
    "document_of",
    "is_loaded",
    "read_facts",
    "report_paths",
    "write_report",
]
