"""Every case, in the order in which the table shows them."""

from typing import Final

from tests.faults.case import Case
from tests.faults.cases import answers, disks, ends, ledgers, under_load

CASES: Final[list[Case]] = [
    case for table in (under_load, answers, ends, disks, ledgers) for case in table.TABLE.cases
]
