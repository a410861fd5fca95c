"""The table: gathers what a policy asks for, once, and keeps the minutes (who spoke, in how many seconds, what was said)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from consilium.consult import parse, several, uneven
from consilium.consult.calls_json import tools
from consilium.consult.panel import Panel
from consilium.consult.prompt import NO_FINDING, Evidence, Profile, compose
from consilium.consult.route import alike, among, demand_modality, refusal, refused
from consilium.consult.vote import tally, votes
from consilium.errors import CannotScoreError, MemberError
from consilium.imaging.picture import VIEWS, views
from consilium.protocols import Card
from consilium.settings import settings
from consilium.types import Answer, Case, Code, Completion, Finding, Image, Message, Opinion, Precedent

PRECEDENTS = 5


class Table:
    """One consultation under way. Evidence is gathered when a policy first asks for it, and once."""

    def __init__(self, case: Case, panel: Panel, profile: Profile = "measured") -> None:
        self.case = case
        self.panel = panel
        self.profile = profile
        self.exchange: list[Message] = []
        self.notes: list[str] = []
        self.cards: list[Card] = []
        self.timings_s: dict[str, float] = {}
        self._opinions: tuple[Opinion, ...] | None = None
        self._called: list[Opinion] = []
        self._precedents: tuple[Precedent, ...] | None = None

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings_s[what] = self.timings_s.get(what, 0.0) + time.perf_counter() - start

    def opinions(self) -> tuple[Opinion, ...]:
        """What every specialist says, those whose card refuses the case or who are broken as abstentions with that reason.

        UsageError where a study's modality is unknown: who may see it cannot be said.
        """
        if self._opinions is None:
            demand_modality(self.case)
            self._encode()
            closed = bool(self.case.options)
            asked = {n: c for n, c in self.panel.specialists.items() if not c.on_call and not (c.open_only and closed)}
            self._opinions = tuple(self._opinion(name, card) for name, card in asked.items())
        return self._opinions

    def hear(self, name: str, arguments: Mapping[str, Any]) -> Opinion:
        """What the one specialist `name` says, asked with these arguments; whoever is heard so stands in the record."""
        demand_modality(self.case)
        if not self._called:
            self._encode()
        self._called.append(self._opinion(name, self.panel.specialists[name], arguments))
        return self._called[-1]

    def precedents(self) -> tuple[Precedent, ...]:
        """The known cases most like the first view, never the picture itself; () without an index or a picture.

        UsageError where a study's modality is unknown: cases are compared with those of their kind alone.
        """
        if self._precedents is None:
            demand_modality(self.case)
            self._precedents = self._search()
        return self._precedents

    def heard(self) -> tuple[tuple[Opinion, ...], tuple[Precedent, ...]]:
        """What was gathered so far, for the record."""
        return self._opinions or tuple(self._called), self._precedents or ()

    def _encode(self) -> None:
        images = self.views()
        if images:
            with self.timed("encoder"):
                self.panel.encoder.embed(images, patches=True)
            self._speaks(self.panel.encoder.card)

    def views(self) -> list[Image]:
        return [view for study in self.case.studies for item in study.images for view in views(item)]

    def _opinion(self, name: str, card: Card, arguments: Mapping[str, Any] | None = None) -> Opinion:
        basis: Any = "pictures" if card.modalities else "genome"
        silent = Opinion(name, card.version, reliability=card.scores, licence=card.licence, basis=basis)
        if (reason := refused(card, self.case)) is not None:
            return replace(silent, abstained=reason)
        admitted = tuple(study for study in self.case.studies if refusal(card, study) is None)
        seen = replace(self.case, studies=admitted)
        with self.timed(f"specialist {name}"):
            try:
                member, own = self.panel.specialist(name), among(self.case, admitted, arguments or {})
                opinion = member.examine(seen, own) if own else member.examine(seen)
            except MemberError as error:  # where it lies on this machine is nobody's business who reads the record
                return replace(silent, abstained=str(error).replace(str(settings().home), "CONSILIUM_HOME"))
        self._speaks(card)
        return uneven.cautioned(opinion if opinion.basis == basis else replace(opinion, basis=basis), seen)

    def _search(self) -> tuple[Precedent, ...]:
        images = self.views()
        if self.panel.retriever is None or not images:
            self.notes.append("no precedents: " + ("no index is open" if images else "the case holds no picture"))
            return ()
        self._encode()
        with self.timed("retriever"):
            query = self.panel.encoder.embed(images[:1]).pooled[0]
            digests = [image.digest for image in images]
            modality = self.case.studies[0].modality
            found = [
                precedent
                for term in alike(modality)
                for precedent in self.panel.retriever.search(query, PRECEDENTS, modality=term, exclude_digests=digests)
            ]
        self._speaks(self.panel.retriever.card)
        if not found:
            self.notes.append(f"no precedents: the index holds no {modality} case")
        return tuple(sorted(found, key=lambda precedent: -precedent.similarity)[:PRECEDENTS])

    def ask(self, messages: Sequence[Message], max_tokens: int = 128, experts: Sequence[Card] = ()) -> Completion:
        """The generalist's words, kept in the exchange. `experts`: those it may call, for a back-end that takes tools."""
        generalist = self.panel.generalist
        calling = getattr(generalist, "generate_with", None) if experts else None
        with self.timed("generalist"):
            completion: Completion = (
                generalist.generate(messages, max_tokens)
                if calling is None
                else calling(messages, tools(experts), max_tokens)
            )
        self._speaks(generalist.card)
        self._keep(messages, completion.text)
        if not generalist.sees_images and any(not isinstance(p, str) for m in messages for p in m.parts):
            self.notes.append(
                f"generalist {generalist.card.name} sees no images: it weighed the written evidence alone"
            )
        return completion

    def _keep(self, messages: Sequence[Message], said: str) -> None:
        """Adds to the exchange what it does not hold yet: a conversation that goes on is kept once, and what is decided at its
        end takes the place of the words that were there."""
        told = [*messages, Message("assistant", (said,))]
        kept = self.exchange[: len(messages)]
        going_on = len(self.exchange) <= len(told) and kept == list(messages[: len(kept)])
        self.exchange = told if going_on else [*self.exchange, *told]

    def weigh(self, opinions: Sequence[Opinion] = (), precedents: Sequence[Precedent] = ()) -> Answer:
        """The generalist's answer to the case beside this evidence; an abstention where there is none and it cannot see
        the picture either."""
        blind = not self.panel.generalist.sees_images
        unread = self.unread()
        if unread and not precedents and all(opinion.abstained for opinion in opinions):
            return Answer("", abstained=f"nobody gave evidence, and {unread}")
        answer = self.answer(self.compose(opinions, precedents, worked=blind))
        return replace(answer, caution=self.conflict(answer, opinions))

    def compose(
        self,
        opinions: Sequence[Opinion] = (),
        precedents: Sequence[Precedent] = (),
        worked: bool = False,
        profile: Profile | None = None,
    ) -> tuple[Message, ...]:
        """The prompt for the case beside this evidence, in the table's profile unless another is named; of a volume as many
        slices as the generalist is to be shown."""
        seen = self.panel.generalist
        slices, windows = getattr(seen, "slices", VIEWS), getattr(seen, "windows", False)
        evidence = Evidence(opinions, precedents, self.broader(), slices, windows)
        return compose(self.case, evidence, profile or self.profile, worked=worked)

    def unread(self) -> str:
        """Why the generalist knows nothing of the case but words; "" where it sees its pictures, or there are words alone."""
        if self.views():
            return "" if self.panel.generalist.sees_images else "the generalist sees no images"
        return "" if self.case.genome is None else "the generalist reads no genotypes"

    def broader(self) -> dict[str, str]:
        """Label -> the group that a specialist admitted to the case counts it to."""
        cards = [card for card in self.panel.specialists.values() if refused(card, self.case) is None]
        return {label: group for card in cards for group, labels in card.groups.items() for label in labels}

    def conflict(self, answer: Answer, opinions: Sequence[Opinion]) -> str:
        """What the specialists' vote says where the generalist decided against it: a reader must not have to find it out."""
        if self.case.multiple:
            return several.disagreement(answer, several.voted(opinions, self.case.options))
        probabilities = tally(votes(opinions, self.case.options, self.case.question), self.case.options)
        if answer.choice is None or not probabilities:
            return ""
        best = max(probabilities, key=lambda option: probabilities[option])
        if best == answer.choice:
            return ""
        return f"the specialists disagree: their vote is {best} ({min(99, round(100 * probabilities[best]))} %)"

    def answer(self, messages: Sequence[Message], drafted: str = "") -> Answer:
        """The generalist's answer to a closed question by option likelihood where it has them, else by its words; to an
        open question by its words. Its findings are where it looked, if the panel is to explain.

        drafted  its words to these messages where they are known: it is not asked for them again.
        """
        answer = self._answered(messages, drafted)
        return replace(answer, findings=self._looked_at(messages, answer))

    def _answered(self, messages: Sequence[Message], drafted: str) -> Answer:
        if not self.case.options:
            return Answer((drafted or self.ask(messages).text).strip(), citations=self._citations())
        if self.case.multiple:
            return self._several(messages, drafted)
        if self.profile == "published":
            return self._by_words(messages, drafted)
        try:
            return self._by_likelihood(messages)
        except CannotScoreError as reason:
            self.notes.append(f"{reason} The option was read from its words.")
            return self._by_words(messages, drafted)

    def _looked_at(self, messages: Sequence[Message], answer: Answer) -> tuple[Finding, ...]:
        """What raised the answer's probability in each picture, as findings with a region."""
        if not self.panel.explains or not answer.text or not self.views():
            return ()
        generalist = self.panel.generalist
        explain = getattr(generalist, "explain", None)
        if explain is None:
            if generalist.sees_images:
                self.notes.append(f"generalist {generalist.card.name} cannot show where it looked")
            return ()
        rivals = [option for option in answer.probabilities if option != answer.choice]
        with self.timed("relevance"):
            regions = explain(messages, answer.text, rivals)
        said, probability = Code.local(answer.text), answer.probabilities.get(answer.choice or "")
        return tuple(Finding(said, probability, region=region, source=generalist.card.name) for region in regions)

    def rate(self, messages: Sequence[Message]) -> dict[str, float]:
        """Option -> its share of the generalist's likelihoods, which is no calibrated probability; CannotScoreError where it
        has none."""
        generalist, options, multiple = self.panel.generalist, self.case.options, self.case.multiple
        with self.timed("generalist"):
            likelihoods = generalist.score(messages, (*options, NO_FINDING) if multiple else options)
        if multiple:
            probabilities = several.rated(likelihoods, options)
            said = ", ".join(several.holding(probabilities))
        else:
            peak = max(likelihoods)
            weights = [math.exp(value - peak) for value in likelihoods]
            probabilities = {o: w / sum(weights) for o, w in zip(options, weights, strict=True)}
            said = max(probabilities, key=lambda option: probabilities[option])
        self._speaks(generalist.card)
        self._keep(messages, said)
        return probabilities

    def _by_likelihood(self, messages: Sequence[Message]) -> Answer:
        probabilities = self.rate(messages)
        chosen = max(probabilities, key=lambda option: probabilities[option])
        generalist = self.panel.generalist
        self.notes.append("the generalist's option likelihoods decided; they are not calibrated probabilities")
        if not generalist.sees_images:
            self.notes.append(
                f"generalist {generalist.card.name} sees no images: it weighed the written evidence alone"
            )
        return Answer(chosen, chosen, probabilities, citations=self._citations())

    def _several(self, messages: Sequence[Message], drafted: str) -> Answer:
        """The options that hold: by likelihood against "No finding", else by its words."""
        if self.profile == "measured":
            try:
                return self.holding(self.rate(messages))
            except CannotScoreError as reason:
                self.notes.append(f"{reason} The options were read from its words.")
        text = (drafted or self.ask(messages, max_tokens=16 * len(self.case.options)).text).strip()
        found = parse.choices(text, self.case.options, NO_FINDING)
        abstained = None if found else "the generalist's words state something beside the options"
        said = ", ".join(found) if found else text
        return Answer(said, citations=self._citations(), abstained=abstained, choices=found or ())

    def holding(self, probabilities: dict[str, float], calibrated: bool = False) -> Answer:
        """The answer to a question of which several options may hold."""
        held = several.holding(probabilities)
        cited = self._citations()
        return Answer(", ".join(held), None, probabilities, calibrated, citations=cited, choices=held)

    def _by_words(self, messages: Sequence[Message], drafted: str) -> Answer:
        text = (drafted or self.ask(messages, max_tokens=32).text).strip()
        chosen = parse.choice(text, self.case.options)
        abstained = None if chosen else "the generalist's words state none of the options"
        return Answer(text, chosen, citations=self._citations(), abstained=abstained)

    def _citations(self) -> tuple[str, ...]:
        opinions, precedents = self.heard()
        return tuple(o.specialist for o in opinions if not o.abstained) + tuple(p.case_id for p in precedents)

    def _speaks(self, card: Card) -> None:
        if card not in self.cards:
            self.cards.append(card)
