"""solo: the generalist alone, shown nothing but the case."""

from consilium.consult.table import Table
from consilium.types import Answer


def decide(table: Table) -> Answer:
    return table.answer(table.compose())
