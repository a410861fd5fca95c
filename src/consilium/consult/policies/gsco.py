"""gsco: both the specialists' diagnoses and those of similar known cases stand in the prompt; the generalist decides."""

from consilium.consult.arbitrate import warned
from consilium.consult.table import Table
from consilium.types import Answer


def decide(table: Table) -> Answer:
    opinions = table.opinions()
    return warned(table, table.weigh(opinions, table.precedents()), opinions)
