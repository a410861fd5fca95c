"""The error tree. Each branch has an exit code; each message says what was asked, what was found, what to do next.

ConsiliumError                 1
├── UsageError                 2   the request cannot be carried out as written
│   ├── NothingError               there is nothing that could be written
│   ├── BuildError                 positions of two reference builds would be mixed, or one is not known
│   └── OverlapError               too few of a score's variants are in the genotypes
├── ReadError                  3   a file cannot be read
│   ├── UnknownFormatError         no reader knows its first bytes
│   ├── DamagedFileError           truncated, inconsistent or undecodable
│   ├── NotAnImageError            readable, but holds no picture (a DICOM report, a dose plan, a waveform)
│   ├── EncryptedFileError         encrypted, so nothing can be read
│   ├── UnsafeFileError            too large, a bomb, or it reaches outside its folder
│   ├── GenotypeError              genotypes, their variants and their people do not belong together
│   └── ScoringFileError           weights, alleles or columns of a score that are not what they must be
├── WeightsError               4   weights cannot be had, or are not what the manifest says
│   ├── WeightsMissingError
│   └── ChecksumError
├── MemberError                5   a member of the council cannot be found or loaded
│   ├── MissingPackageError        it needs a package that is not installed
│   ├── UnknownMemberError
│   └── CannotScoreError           this generalist has no option likelihoods
├── DataError                  6   a dataset is not in a form that can be learnt from
└── EndpointError              7   a remote generalist failed after its retries
"""

from __future__ import annotations


class ConsiliumError(Exception):
    """Root of everything that consilium raises on purpose."""

    exit_code = 1


class UsageError(ConsiliumError):
    exit_code = 2


class NothingError(UsageError):
    pass


class BuildError(UsageError):
    pass


class OverlapError(UsageError):
    pass


class ReadError(ConsiliumError):
    exit_code = 3


class UnknownFormatError(ReadError):
    pass


class DamagedFileError(ReadError):
    pass


class NotAnImageError(ReadError):
    pass


class EncryptedFileError(ReadError):
    pass


class UnsafeFileError(ReadError):
    pass


class GenotypeError(ReadError):
    pass


class ScoringFileError(ReadError):
    pass


class WeightsError(ConsiliumError):
    exit_code = 4


class WeightsMissingError(WeightsError):
    pass


class ChecksumError(WeightsError):
    pass


class MemberError(ConsiliumError):
    exit_code = 5


class MissingPackageError(MemberError):
    pass


class UnknownMemberError(MemberError):
    pass


class CannotScoreError(MemberError):
    pass


class DataError(ConsiliumError):
    exit_code = 6


class EndpointError(ConsiliumError):
    exit_code = 7


def extra(name: str) -> str:
    """How an optional part is installed: from the folder of consilium, whose name elsewhere is somebody else's."""
    return f"pip install -e '.[{name}]' in the folder of consilium"
