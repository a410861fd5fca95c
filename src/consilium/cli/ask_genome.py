"""The genome of `consilium ask`: its options, and how one person's genotypes come to the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from consilium.consult.panel import Panel
    from consilium.types import Genome

GenomeFile = Annotated[
    Path | None,
    typer.Option("--genome", help="Genotypes (.bed, .pgen, .vcf[.gz], .bcf) for the specialists that read them."),
]
Person = Annotated[str | None, typer.Option(help="With --genome: whose, by the id in the file; it is written nowhere.")]
Build = Annotated[
    str | None, typer.Option(help="With --genome: GRCh37 or GRCh38, where header and positions do not tell.")
]
Age = Annotated[int | None, typer.Option(help="Years; joins the history, as genome readers need.", min=0, max=120)]
Sex = Annotated[Literal["female", "male"] | None, typer.Option(help="Joins the history, as genome readers need.")]

# What genomics.genome says is missing, and the option that gives it.
_OPTION_FOR = {"no person is named": "--person", "its positions do not tell it": "--build"}


@dataclass(frozen=True)
class Asked:
    """--genome, --person and --build as they were given."""

    file: Path | None
    person: str | None
    build: str | None

    def check(self, paths: Sequence[str], formats: Sequence[str] | None) -> None:
        """UsageError where the options do not go together, before a file is opened. formats: the kinds of result that were named,
        None for those that fit."""
        from consilium.errors import UsageError
        from consilium.genomics.build import build_named

        if self.file is None:
            if self.person or self.build:
                raise UsageError("--person and --build are of a genome. Give its file too: --genome FILE.")
            return
        if len(paths) > 1:
            raise UsageError(
                f"--genome is of one person, and {len(paths)} paths are {len(paths)} cases. Ask once for each person; several "
                "files of one person's examination go into one folder."
            )
        if not paths and (drawn := [kind for kind in formats or () if kind != "fhir"]):
            raise UsageError(f"--formats {','.join(drawn)}: results of pictures, and there is none. Of a genome: fhir.")
        build_named(self.build)

    def read(self, panel: Panel) -> Genome | None:
        """The person's genotypes at the places that the panel's readers judge by; None without --genome."""
        from consilium.errors import UsageError
        from consilium.genomics.genome import read_genome

        if self.file is None:
            return None
        places = panel.genome_places()
        try:
            return read_genome(self.file, places, self.person, self.build)
        except UsageError as error:
            option = next((name for words, name in _OPTION_FOR.items() if words in str(error)), None)
            raise type(error)(f"{error} The option is {option}." if option else str(error)) from error


def told(genome: Genome | None) -> tuple[str, ...]:
    """The note that stands in the consultation."""
    if genome is None:
        return ()
    return (f"genome: {len(genome.variants)} variants read, build {genome.build}; its genotypes are not in the record",)


def with_demographics(history: str, age: int | None, sex: str | None) -> str:
    """The history with age and sex in the words that genome readers find them by; UsageError where it says others too."""
    from consilium.errors import UsageError
    from consilium.genomics.risk_image import read_demographics

    words = (f"Age: {age} years." if age is not None else "", f"Sex: {sex}." if sex else "", history)
    text = " ".join(word for word in words if word)
    for option, given, found in zip(("--age", "--sex"), (age, sex), read_demographics(text), strict=True):
        if given is not None and found != given:
            raise UsageError(f"the history names another than {option} {given}, or several. Say it once.")
    return text
