"""moed: Mixture-of-Expert Diagnosis. The specialists' diagnoses stand in the generalist's prompt (GSCo)."""

from consilium.consult.arbitrate import warned
from consilium.consult.table import Table
from consilium.types import Answer


def decide(table: Table) -> Answer:
    return warned(table, table.weigh(table.opinions()), table.opinions())
