"""rad: Retrieval-Augmented Diagnosis. The diagnoses of similar known cases stand in the generalist's prompt (GSCo)."""

from consilium.consult.table import Table
from consilium.types import Answer


def decide(table: Table) -> Answer:
    return table.weigh(precedents=table.precedents())
