"""BCDA by hand, from a notebook, a script or a shell: every endpoint as a call that returns when BCDA has answered."""

from bcda.by_hand.endpoints import Bcda
from bcda.by_hand.exporting import download_job, run_export
from bcda.by_hand.result import ExportedFile, ExportResult

__all__ = ["Bcda", "ExportResult", "ExportedFile", "download_job", "run_export"]
