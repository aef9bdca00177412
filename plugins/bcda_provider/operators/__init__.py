"""The operators of an export, one a module.

`start_missed` is imported by the maintenance alone: it loads Airflow's models, which takes each task process half a second.
"""

from bcda_provider.operators.check_list import BcdaCheckListOperator
from bcda_provider.operators.end_of_gaps import BcdaEndOfGapsOperator
from bcda_provider.operators.fetch import BcdaFetchOperator
from bcda_provider.operators.kick_off import BcdaKickOffOperator
from bcda_provider.operators.land import BcdaLandOperator
from bcda_provider.operators.maintain import BcdaMaintainOperator
from bcda_provider.operators.merge import BcdaMergeOperator
from bcda_provider.operators.plan import BcdaPlanOperator
from bcda_provider.operators.publish import BcdaPublishOperator
from bcda_provider.operators.report import BcdaReportOperator

__all__ = [
    "BcdaCheckListOperator",
    "BcdaEndOfGapsOperator",
    "BcdaFetchOperator",
    "BcdaKickOffOperator",
    "BcdaLandOperator",
    "BcdaMaintainOperator",
    "BcdaMergeOperator",
    "BcdaPlanOperator",
    "BcdaPublishOperator",
    "BcdaReportOperator",
]
