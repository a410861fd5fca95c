"""gsco: both the specialists' diagnoses and those of similar known cases stand in the prompt; the generalist decides."""

from consilium.consult.table import Table
from consilium.types import Answer


def decide(table: Table) -> Answer:
    return table.weigh(table.opinions(), table.precedents())
