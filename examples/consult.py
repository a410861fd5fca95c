"""A consultation from Python: python examples/consult.py"""

from pathlib import Path

from consilium import formats
from consilium.consult.council import case_of, consult
from consilium.consult.panel import assemble

picture = Path(__file__).with_name("brain_mr.jpg")
case = case_of(formats.read(picture), "What does the slice show?", ("glioma", "meningioma", "pituitary", "notumor"))
held = consult(case, assemble(), policy="panel_vote")

print("answer:", held.answer.choice, {name: round(p, 3) for name, p in held.answer.probabilities.items()})
for opinion in held.opinions:
    said = opinion.abstained or ", ".join(f"{f.concept.meaning} {f.probability:.2f}" for f in opinion.findings[:2])
    print(f"{opinion.specialist}: {said}")
