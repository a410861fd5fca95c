"""Calls in a generalist's words: both dialects, damage, junk, and what their cards allow."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from random import Random

import pytest

from consilium.consult import admit as admission
from consilium.consult import calls_json, cards_prompt
from consilium.consult.admit import admit, fillings, named
from consilium.consult.calls import Call, find
from consilium.protocols import Card
from consilium.types import Case, Code, Score, Study

FILM = Card("specialist", "film", "1", "Fractures on a film.", ("CR", "DX"), ("CHEST",), (Code.local("fracture"),))
ORGANS = Card(
    "specialist",
    "organs",
    "1",
    "Outlines an organ.",
    ("CT",),
    ("ABDOMEN",),
    arguments={
        "organ": "one of spleen, left kidney or right kidney",
        "box": "[x0, y0, x1, y1] in pixels; or several such",
    },
    scores=(Score("Dice", 0.9, 0.8, 1.0, 40),),
)
LOBES = Card("specialist", "lobes", "1", "", ("CT",), arguments={"lobe": "one of upper lobe, lower lobe"})
SLICER = Card("specialist", "slicer", "1", "", ("CT",), arguments={"slice": "number of the slice"})
CARDS = {card.name: card for card in (FILM, ORGANS, LOBES, SLICER)}
BELLY = Case("c", "How large is the spleen?", studies=(Study("CT", "ABDOMEN", ()),))


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("<FILM()>", "FILM", {}),
        ("< film ( ) >", "film", {}),
        ("Let me first trigger <FILM()>. Then we see.", "FILM", {}),
        ('<ORGANS(organ="left kidney")>', "ORGANS", {"organ": "left kidney"}),
        (
            "<ORGANS(organ='left kidney', box=[1, 2.5, -3, 4e1])>",
            "ORGANS",
            {"organ": "left kidney", "box": [1, 2.5, -3, 40.0]},
        ),
        ("<ORGANS(organ=left kidney)>", "ORGANS", {"organ": "left kidney"}),
        ("<ORGANS(box=(1,2,3,4))>", "ORGANS", {"box": [1, 2, 3, 4]}),
        ("<ORGANS(box=[[1,2,3,4],[5,6,7,8]])>", "ORGANS", {"box": [[1, 2, 3, 4], [5, 6, 7, 8]]}),
        ('<ORGANS(organ="a) > b, \\"c\\"")>', "ORGANS", {"organ": 'a) > b, "c"'}),
        ("<ORGANS(organ=patient's left)>", "ORGANS", {"organ": "patient's left"}),
        ("<ORGANS(flag=True, other=none)>", "ORGANS", {"flag": True, "other": None}),
        ('<ORGANS(organ="left kidney")/>', "ORGANS", {"organ": "left kidney"}),
        ('{"name": "organs", "arguments": {"organ": "spleen"}}', "organs", {"organ": "spleen"}),
        (
            'Sure.\n```json\n{"name": "organs", "arguments": {"box": [1, 2, 3, 4]}}\n```',
            "organs",
            {"box": [1, 2, 3, 4]},
        ),
        ('<tool_call>\n{"name": "film", "arguments": {}}\n</tool_call>', "film", {}),
        ('<tool_call>{"name": "film"}</tool_call>', "film", {}),
        (
            '{"tool_calls": [{"function": {"name": "organs", "arguments": "{\\"organ\\": \\"spleen\\"}"}}]}',
            "organs",
            {"organ": "spleen"},
        ),
        ('{"tool": "organs", "parameters": {"organ": "spleen"}}', "organs", {"organ": "spleen"}),
    ],
)
def test_a_call_is_read(text: str, name: str, arguments: dict[str, object]) -> None:
    assert find(text, CARDS) == (Call(name, arguments),)


def test_the_one_argument_may_stand_without_its_name() -> None:
    assert find("<VISTA3D(hepatic tumor)>") == (Call("VISTA3D", unnamed=("hepatic tumor",)),)
    (call,) = find("<LOBES(Upper lobe)>")
    assert admit(call, CARDS, BELLY).arguments == {"lobe": "upper lobe"}
    (call,) = find("<ORGANS(spleen)>")
    assert "each value needs its name" in admit(call, CARDS, BELLY).problem


def test_what_is_written_is_read_back() -> None:
    for arguments in (
        {},
        {"organ": 'a "b", c) >'},
        {"box": [1, 2, 3, 4], "organ": "é"},
        {"n": 3, "x": 0.5, "on": True},
    ):
        assert find(f"I ask {cards_prompt.call(ORGANS, arguments)} now.") == (Call("ORGANS", arguments),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no finding",
        "p < 0.05 and a > b",
        "<b>bold</b> <image> <br/> </tool_call>",
        "<UNKNOWN>",
        "vector<int(3)>",
        "<3(4)>",
        "{}",
        '{"name": "Jane", "age": 3}',
        '{"name": 3, "arguments": {}}',
        '{"name": "film", "arguments": ',
        "<<<<((((",
        "{" * 3000,
        "[" * 3000,
        '{"a":' * 3000,
        "<FOO(" * 3000,
        '{"name": "x", "arguments": {"a": NaN}}',
        cards_prompt.calls(tuple(CARDS.values())),
    ],
)
def test_what_is_no_call_is_left_alone(text: str) -> None:
    start = time.process_time()
    assert find(text, CARDS) == ()
    assert time.process_time() - start < 2


def test_several_calls_keep_their_order_and_each_counts_once() -> None:
    text = '<FILM()> and {"name": "organs", "arguments": {"organ": "spleen"}} or <FILM()>, <ORGANS(organ="spleen")>, <LOBES>'
    assert [call.name for call in find(text, CARDS)] == ["FILM", "organs", "ORGANS", "LOBES"]
    assert find('<FILM({"name": "organs", "arguments": {}})>', CARDS)[0].name == "FILM"


@pytest.mark.parametrize(
    "text",
    ['<ORGANS(organ="spleen', "<ORGANS(organ=spleen", "<ORGANS(a=1, a=2)>", "<ORGANS(box=[1, 2)>", "<ORGANS(a={b}c)>"],
)
def test_a_damaged_call_says_what_is_wrong(text: str) -> None:
    (call,) = find(text, CARDS)
    assert call.name == "ORGANS" and call.problem
    assert "cannot be read" in admit(call, CARDS, BELLY).problem


def test_no_text_breaks_the_reader() -> None:
    pieces = [
        "<",
        ">",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "\\",
        ",",
        "=",
        "FILM",
        "organs",
        '"name":',
        '"arguments":',
        " ",
        "1e9",
        "\n",
        "é",
        "/",
    ]
    for seed in range(3000):
        rng = Random(seed)
        for call in find("".join(rng.choice(pieces) for _ in range(rng.randint(1, 60))), CARDS):
            request = admit(call, CARDS, BELLY)
            json.dumps(request.arguments)
            assert request.problem or request.card is not None


def test_an_unknown_expert_is_answered_with_those_there_are() -> None:
    problem = admit(Call("LIVER"), CARDS, BELLY).problem
    assert "no expert is called LIVER" in problem and "organs, lobes, slicer" in problem and "film" not in problem


def test_the_gate_goes_by_the_card() -> None:
    request = admit(Call("film"), CARDS, BELLY)
    assert request.gated and request.problem == "film may not see this picture: it is for CR, DX; the study is CT"
    assert not admit(Call("ORGANS", {"organ": "spleen"}), CARDS, BELLY).gated
    chest = Case("c", "", studies=(Study("CT", "CHEST", ()),))
    assert admit(Call("organs"), CARDS, chest).gated and admit(Call("film"), CARDS, Case("c", "")).gated


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (Call("organs", {"size": 3}), "there is no size"),
        (Call("organs", {"organ": "liver"}), "organ cannot be 'liver'"),
        (Call("organs", {"organ": 3}), "organ cannot be 3"),
        (Call("organs", {"box": [1, 2, 3]}), "box needs 4 numbers"),
        (Call("organs", {"box": [1, 2, 3, "x"]}), "box needs 4 numbers"),
        (Call("organs", {"box": [True] * 4}), "box needs 4 numbers"),
        (Call("organs", {"box": [1, 2, 3, float("inf")]}), "is no number"),
        (Call("slicer", {"slice": "many"}), "slice needs a number"),
        (Call("film"), ""),
        (Call("organs", {"organ": "Left  kidney", "BOX": "1, 2, 3, 4"}), ""),
        (Call("organs", {"box": [[1, 2, 3, 4], [5, 6, 7, 8]]}), ""),
    ],
)
def test_arguments_are_those_of_the_card(call: Call, problem: str) -> None:
    case = BELLY if call.name != "film" else Case("c", "", studies=(Study("DX", "CHEST", ()),))
    request = admit(call, CARDS, case)
    assert problem in request.problem and bool(request.problem) == bool(problem)
    if not problem and call.arguments and "organ" in call.arguments:
        assert request.arguments == {"organ": "left kidney", "box": [1, 2, 3, 4]}


def test_fillings_are_the_listed_values_and_what_the_question_names() -> None:
    assert fillings(FILM, "Is slice 3 broken?") == ({},)
    found = fillings(ORGANS, "What lies in the box [10, 20, 30.5, 40] of [1, 2]?")
    assert found == (
        {},
        {"organ": "spleen"},
        {"organ": "left kidney"},
        {"organ": "right kidney"},
        {"box": [10, 20, 30.5, 40]},
    )
    assert fillings(SLICER, "Which vertebra is on slice 34?") == ({}, {"slice": 34})


def test_what_the_question_names_is_told_from_what_may_be_filled_in() -> None:
    assert named(ORGANS, "How large is the spleen?") == ({"organ": "spleen"},)
    assert named(ORGANS, "How large is it?") == () == named(SLICER, "A man of 34: which vertebra is it?")
    assert named(ORGANS, "Is there a cyst in the left kidney?") == ({"organ": "left kidney"},)
    assert named(ORGANS, "Outline what is in [1, 2, 3, 4].") == ({"box": [1, 2, 3, 4]},)
    assert named(SLICER, "Which vertebra is on slice 34?") == ({"slice": 34},)
    liver = replace(ORGANS, arguments={"target": "one of liver, liver tumour"})
    assert named(liver, "Measure the liver tumour.") == ({"target": "liver tumour"},)
    assert named(liver, "The liver, and the spleen?") == ({"target": "liver"},)


def test_a_box_and_its_slice_are_one_call() -> None:
    points = {"box": "[x0, y0, x1, y1] in pixels", "point": "[x, y] in pixels", "slice": "number of the slice"}
    marked = replace(ORGANS, arguments={**points, "through": "[first, last] slice"})
    asked = "Outline what lies in box [5, 10, 20, 25] on slice 10."
    assert named(marked, asked) == ({"box": [5, 10, 20, 25], "slice": 10},)
    assert named(marked, "Outline point [40, 50].") == ({"point": [40, 50]},)
    assert named(marked, "Outline through [3, 9] what is at slice 4.") == ({"through": [3, 9], "slice": 4},)
    assert named(marked, "What is on slice 4?") == ({"slice": 4},)
    assert {"slice": 10} in fillings(marked, asked) and {"slice": 20} not in fillings(marked, asked)


def test_the_tools_of_an_endpoint_name_the_arguments() -> None:
    film, organs, *_ = (tool["function"] for tool in calls_json.tools(tuple(CARDS.values())))
    assert film == {
        "name": "film",
        "description": FILM.summary,
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    }
    assert organs["parameters"]["properties"]["organ"]["enum"] == ["spleen", "left kidney", "right kidney"]
    assert organs["parameters"]["properties"]["box"]["type"] == "array"


def test_a_card_line_tells_its_arguments_and_its_own_measure() -> None:
    line = cards_prompt.calls((ORGANS,)).splitlines()[1]
    assert (
        "valid arguments: organ (one of spleen, left kidney or right kidney), box ([x0, y0, x1, y1] in pixels)." in line
    )
    assert "accuracy: Dice 0.90 on 40 unseen cases" in line


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "outliner", "arguments": "{side: left}"}',
        '{"name": "outliner", "arguments": ["left"]}',
        '{"name": "outliner", "arguments": "left"}',
        '{"name": "outliner", "args": {"side": "left"}}',
    ],
)
def test_damaged_arguments_are_not_taken_for_none(text: str) -> None:
    (call,) = find(text, ("outliner",))
    assert call.name == "outliner" and "no object" in call.problem


def test_a_call_without_arguments_is_whole() -> None:
    for text in (
        '{"name": "outliner"}',
        '{"name": "outliner", "arguments": {}}',
        '{"name": "outliner", "arguments": ""}',
    ):
        assert find(text, ("outliner",)) == (Call("outliner"),)


def test_several_boxes_in_a_text_are_several_boxes() -> None:
    many = "[x0, y0, x1, y1] in pixels, or several such lists"
    both = admission._checked("[[1, 2, 3, 4], [5, 6, 7, 8]]", many)
    assert both == ([[1, 2, 3, 4], [5, 6, 7, 8]], "")
    assert admission._checked("[1, 2, 3, 4]", many) == ([1, 2, 3, 4], "")
    assert (
        admission._checked("[1, 2, 3, 4], [5, 6, 7, 8]", "[x0, y0, x1, y1] in pixels")[1] == "needs 4 numbers in a list"
    )
