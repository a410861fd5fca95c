"""Asked the same under several policies, a member answers once, and says the same."""

from consilium.consult.panel import Panel
from consilium.encoders import patch_statistics
from consilium.evaluate.once import OnceGeneralist, OnceSpecialist, RememberedGeneralist, once
from consilium.protocols import Card
from consilium.types import Case, Completion, Message, Opinion


class Counting:
    card = Card("specialist", "counting", "1", "counts how often it is asked")
    sees_images = False

    def __init__(self) -> None:
        self.asked = 0

    def examine(self, case, args=None):
        self.asked += 1
        return Opinion("counting", str(self.asked))

    def generate(self, messages, max_tokens=128):
        return Completion("words")

    def score(self, messages, options):
        self.asked += 1
        return tuple(float(self.asked) for _ in options)


def test_a_specialist_is_asked_once_a_case_and_anew_with_arguments():
    inner = Counting()
    kept = OnceSpecialist(inner)
    first = kept.examine(Case("a", "?"))
    assert kept.examine(Case("a", "?")) == first and inner.asked == 1
    assert kept.examine(Case("b", "?")) != first
    assert kept.examine(Case("a", "?"), {"box": [0, 0, 1, 1]}) != first


def test_a_generalist_rates_the_same_words_once():
    inner = Counting()
    kept = OnceGeneralist(inner)
    said = [Message("user", ("what?",))]
    assert kept.score(said, ("x", "y")) == kept.score(said, ("x", "y")) == (1.0, 1.0)
    assert kept.score(said, ("x", "z")) == (2.0, 2.0)
    assert kept.score([Message("user", ("which?",))], ("x", "y")) == (3.0, 3.0)
    assert kept.generate(said).text == "words"


def test_ratings_are_found_again_in_another_run(tmp_path):
    said, path = [Message("user", ("what?",))], tmp_path / "ratings.jsonl"
    first = RememberedGeneralist(Counting(), path).score(said, ("x", "y"))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"cut sho')
    inner = Counting()
    assert RememberedGeneralist(inner, path).score(said, ("x", "y")) == first and inner.asked == 0
    assert "what?" not in path.read_text(encoding="utf-8")


def test_members_are_wrapped_once_however_often_it_is_asked_for():
    panel = Panel(patch_statistics.load(), {}, "echo")
    panel.seat("counting", Counting())
    panel.seat_generalist(Counting())
    for _ in range(3):
        once(panel)
    assert isinstance(panel.specialist("counting")._inner, Counting)
    assert isinstance(panel.generalist._inner, Counting)
