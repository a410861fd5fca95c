"""`consilium genome specialist` makes one, `consilium ask --genome` seats it beside those that see pictures, under every
policy; nobody's id or genotypes come out."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.generalists.server import says, serve
from tests.genomics.cohort import Cohort, draw
from tests.polygenic import Files, cohort_files

from consilium import cli
from consilium.formats import record
from consilium.genomics.sealed import SealedGenome
from consilium.types import Consultation

CHEST = str(Path(__file__).parents[2] / "examples/chest_xray.jpg")
IID, NAME = "Quixote", "heart_risk"
QUESTION = ("Is there pneumonia?", "--options", "yes,no", "--index", "none", "--specialists", f"cxr_pneumonia,{NAME}")
WHO = ("--person", f"{IID}1250", "--build", "GRCh38", "--age", "58", "--sex", "female")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return cohort_files(tmp_path_factory.mktemp("cohort"), ("pneumonia", "gout"), IID)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home and cache of the user of this file's tests."""
    return tmp_path_factory.mktemp("user")


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `consilium` with these words in this process."""
    for name, value in {"HOME": place / "home", "CACHE": place / "cache", "OFFLINE": "1"}.items():
        monkeypatch.setenv(f"CONSILIUM_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["consilium", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(left.value.code or 0), printed.out, printed.err)

    return call


def make(run: Run, files: Files, *more: str) -> Done:
    scores = [word for path in files.scores for word in ("--score", path)]
    words = (
        "--people",
        files.people,
        *scores,
        "--name",
        NAME,
        "--ancestry",
        "people drawn by lot",
        "--components",
        "4",
    )
    return run("genome", "specialist", files.genotypes, *words, "--build", "GRCh38", *more)


@pytest.fixture
def made(run: Run, files: Files, place: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, with the weights and with a specialist made of the cohort by the command."""
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(pretrained))
    if not (place / "home/specialists" / NAME).exists():
        assert make(run, files).code == 0
    return run


def ask(run: Run, out: Path, *words: object) -> tuple[Consultation, Done]:
    done = run("ask", *words, *(() if "--generalist" in words else ("--generalist", "echo")), "--out", out)
    assert done.code == 0, done.err
    return record.read(out / "consultation.json"), done


def nobody_is_named(*folders: Path, words: str = "") -> None:
    """Neither the id nor a variant stands in a file, nor in what a record packs."""
    found = [words.encode(), *(path.read_bytes() for f in folders for path in f.rglob("*") if path.is_file())]
    for text in list(found):
        if text.startswith(b'{\n "format"'):
            found += [zlib.decompress(base64.b64decode(b["zlib"])) for b in json.loads(text)["blobs"].values()]
    assert len(found) > 1 and not [text[:80] for text in found if IID.encode() in text or b"22:20" in text]


def test_it_is_made_of_files_measured_and_listed(run: Run, files: Files, place: Path) -> None:
    done = make(run, files, "--licence", "CC0-1.0", "--summary", "Risk.")
    assert done.code == 0 and f"made {NAME} (pneumonia, gout), measured on its test people:" in done.out, done.err
    assert "AUROC pneumonia" in done.out and "n=300" in done.out
    listed = run("members", "specialists").out
    assert "reads     genome" in listed and "sees      MR" in listed and listed.count("reads     ") == 1
    assert IID not in "".join(p.read_text(errors="ignore") for p in (place / "home").rglob("*.*") if p.is_file())
    assert [path.name for path in (place / "home/specialists").iterdir()] == [NAME]


def test_a_cohort_that_does_not_fit_is_one_line_and_leaves_nothing(run: Run, files: Files, tmp_path: Path) -> None:
    people = tmp_path / "people.tsv"
    people.write_text(files.people.read_text().replace(IID, "Sancho"))
    words = ("--score", files.scores[0], "--name", "other", "--ancestry", "any", "--build", "GRCh38")
    done = run("genome", "specialist", files.genotypes, "--people", people, *words)
    assert done.code == 2 and done.err.count("\n") == 1 and "Sancho" not in done.err, done.err
    assert "there is no file" in run("genome", "specialist", files.genotypes, "--people", tmp_path / "none", *words).err


@pytest.mark.weights
@pytest.mark.parametrize("policy", ["panel_vote", "moed", "gsco", "arbitrated"])
def test_it_speaks_beside_those_that_see_the_picture(policy: str, made: Run, files: Files, tmp_path: Path) -> None:
    held, done = ask(made, tmp_path, CHEST, *QUESTION, "--genome", files.genotypes, *WHO, "--policy", policy)
    said = {opinion.specialist: opinion for opinion in held.opinions}
    assert {name for name, opinion in said.items() if opinion.abstained is None} == {"cxr_pneumonia", NAME}
    assert held.answer.choice in ("yes", "no") and set(held.answer.citations) >= {"cxr_pneumonia", NAME}
    if policy == "panel_vote":
        own = [next(f.probability for f in o.findings if f.concept.meaning == "pneumonia") for o in said.values()]
        assert held.answer.probabilities["yes"] == pytest.approx(np.mean(own))
    if held.exchange:
        assert "Genome: read by specialists alone." in held.exchange[-2].text
        assert f"Specialist {NAME}" in held.exchange[-2].text
    assert held.case.history == "Age: 58 years. Sex: female."
    assert held.case.genome == SealedGenome(
        ("1",), (), np.empty((1, 0), np.float32), "GRCh38", 400, held.case.genome.digest if held.case.genome else ""
    )
    assert "genome: 400 variants read, build GRCh38; its genotypes are not in the record" in done.out
    nobody_is_named(tmp_path, words=done.out + done.err)


@pytest.mark.weights
def test_a_generalist_calls_for_it_and_no_endpoint_is_told_who_it_is(made: Run, files: Files, tmp_path: Path) -> None:
    with serve(lambda n: says(f"<{NAME.upper()}()>" if n == 0 else "yes")) as endpoint:
        model = ("--generalist", "openai", "--model", "m", "--base-url", endpoint.base_url, "--policy", "triggered")
        held, done = ask(made, tmp_path, CHEST, *QUESTION, "--genome", files.genotypes, *WHO, *model)
    assert [(o.specialist, o.abstained) for o in held.opinions] == [(NAME, None)] and held.answer.choice == "yes"
    assert f"<{NAME.upper()}()> modality: genome" in json.dumps(endpoint.requests[0], ensure_ascii=False)
    nobody_is_named(tmp_path, words=json.dumps(endpoint.requests) + done.out + done.err)


@pytest.mark.weights
def test_a_genome_alone_is_a_case_and_a_file_of_one_person_names_nobody(
    made: Run, files: Files, tmp_path: Path
) -> None:
    one = Cohort(files.cohort.counts[:, 1250:1251], files.cohort.sites)
    vcf = one.write_vcf(tmp_path, "##contig=<ID=22,length=50818468>")
    about = ("--genome", vcf, "--history", "A 58-year-old woman.", "--policy", "panel_vote")
    held, _ = ask(made, tmp_path / "vcf", *QUESTION, *about)
    assert held.case.studies == () and held.answer.citations == (NAME,)
    assert set(held.versions) == {NAME, "consilium"}
    said = {opinion.specialist: opinion.abstained for opinion in held.opinions}
    assert said == {"cxr_pneumonia": "the case holds no study", NAME: None}
    assert [(opinion.basis, opinion.specialist) for opinion in held.opinions][-1] == ("genome", NAME)
    written = json.loads((tmp_path / "vcf/fhir-r5.json").read_text(encoding="utf-8"))["entry"]
    assert [entry["resource"]["resourceType"] for entry in written] == ["DiagnosticReport", *["Observation"] * 3]
    page = (tmp_path / "vcf/consultation.html").read_text(encoding="utf-8")
    assert "Genome: 1 sample, 400 variants, build GRCh38." in page
    again, _ = ask(made, tmp_path / "bed", *QUESTION, "--genome", files.genotypes, *WHO, "--policy", "moed")
    assert again.case.id == held.case.id and again.case.genome == held.case.genome
    by_name = {opinion.specialist: opinion for opinion in again.opinions}
    assert by_name[NAME].findings == held.opinions[-1].findings


@pytest.mark.weights
def test_where_it_cannot_judge_the_reason_is_printed(made: Run, files: Files, tmp_path: Path) -> None:
    sites, other = files.cohort.sites, draw(1, len(files.cohort.sites), seed=99)
    foreign = Cohort(other.counts, sites).write_bed(tmp_path, "foreign")
    few = Cohort(files.cohort.counts[::3, 1250:1251], sites[::3]).write_bed(tmp_path, "few")
    asked = (*QUESTION[:-1], NAME, "--policy", "panel_vote")
    build, known = ("--build", "GRCh38"), ("--age", "58", "--sex", "female")
    for words, why in (
        ((foreign, *build, *known), "ancestry is unlike that of the reference heart_risk"),
        ((few, *build, *known), "the genome has 33% of its scores' variants, on average; 75% are needed"),
        ((foreign, "--build", "hg19", *known), "heart_risk has positions of GRCh38, the genotypes of GRCh37"),
        ((few, *build, "--age", "12", "--sex", "male"), "it learnt from people of 40"),
        ((few, *build), "it needs age and sex"),
    ):
        held, done = ask(made, tmp_path / "out", *asked, "--genome", *words)
        printed = " ".join(done.out.split())
        assert "Abstained: every specialist abstained" in printed and why in printed, done.out
        assert held.answer.choice is None and why in (held.opinions[0].abstained or "")


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "nobody is named": (
        ("--build", "GRCh38"),
        "no person is named. Say which one, by the id in the file. The option is --person.",
    ),
    "not in the file": (
        ("--person", "Rocinante", "--build", "GRCh38"),
        "holds 1500 people, and the person named is there 0 times",
    ),
    "no build": (("--person", f"{IID}3"), "Say GRCh37 or GRCh38. The option is --build."),
    "unknown build": (("--person", f"{IID}3", "--build", "hg99"), "no reference build"),
    "nobody reads genomes": ((*WHO, "--specialists", "cxr_pneumonia"), "no specialist at the table reads genomes"),
    "results without pictures": (
        (*WHO, "--formats", "sr,fhir"),
        "--formats sr: results of pictures, and there is none",
    ),
    "two ages": ((*WHO, "--history", "A man aged 60."), "another than --age 58"),
    "two sexes": ((*WHO, "--history", "A man."), "another than --sex female"),
}


@pytest.mark.weights
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_nobody(mistake: str, made: Run, files: Files) -> None:
    words, said = MISTAKES[mistake]
    done = made("ask", *QUESTION, "--generalist", "echo", "--genome", files.genotypes, *words)
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1 and said in done.err, done.err
    assert IID not in done.err and "Rocinante" not in done.err


def test_options_that_do_not_go_together_are_told_before_anything_is_read(
    run: Run, files: Files, tmp_path: Path
) -> None:
    genome = ("--genome", str(files.genotypes))
    assert "2 paths are 2 cases" in run("ask", CHEST, CHEST, *QUESTION, *genome, *WHO).err
    assert "Give its file too" in run("ask", CHEST, *QUESTION, *WHO).err
    assert "then the question" in run("ask", CHEST, *genome).err
    assert run("ask", CHEST, *QUESTION, *genome, "--build", "hg99").code == 2
