"""What the retrievers share: patient keys, and imports that stay light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from consilium.errors import UsageError
from consilium.retrievers import check_keys, patient_key


def test_a_key_is_stable_and_hides_the_identifier() -> None:
    key = patient_key("nih", "00000013")
    assert key == patient_key("nih", "00000013")
    assert "13" not in key.replace(key[2:], "") and len(key) == 34
    check_keys([key])


def test_datasets_patients_and_secrets_give_different_keys() -> None:
    keys = {
        patient_key("nih", "13"),
        patient_key("nih", "14"),
        patient_key("iu", "13"),
        patient_key("nih1", "3"),
        patient_key("nih", "13", secret=b"of the clinic"),
    }
    assert len(keys) == 5


def test_an_unknown_patient_has_no_key() -> None:
    assert patient_key("nih", "") == ""


@pytest.mark.parametrize("raw", ["", "13", "p:13", "P:" + "0" * 32, "p:" + "0" * 33, "p:" + "0" * 32 + "\n"])
def test_what_is_no_key_is_refused(raw: str) -> None:
    with pytest.raises(UsageError):
        check_keys([patient_key("nih", "1"), raw])


def test_cards_are_read_without_the_libraries_that_search() -> None:
    code = (
        "import sys, consilium.retrievers.exact, consilium.retrievers.lance\n"
        "heavy = {'lancedb', 'pyarrow', 'torch', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
