"""Retrieving U from a device that an attacker holds: ways to do it, their errors, and what can be known without U."""

from groundglass.optics.retrieval.closed_form import SparseInputs
from groundglass.optics.retrieval.error_curve import ErrorCurve, ErrorPoint, error_curve
from groundglass.optics.retrieval.fixed_exposure import FixedExposure
from groundglass.optics.retrieval.given_inputs import GivenInputs
from groundglass.optics.retrieval.input_sources import INPUT_SOURCES, InputSource, NaturalRows, SamePairs, SameShares
from groundglass.optics.retrieval.method import Design, RetrievalMethod, Scale
from groundglass.optics.retrieval.multilateration import Multilateration
from groundglass.optics.retrieval.plan import frames_of
from groundglass.optics.retrieval.readings import ExposureError, MatrixChangedError
from groundglass.optics.retrieval.retrieve import Retrieved, frames_needed, retrieve, row_errors

#: Ways to retrieve a matrix with inputs of their own, by name. `GivenInputs` takes those of a source.
METHODS: dict[str, type[FixedExposure] | type[Multilateration] | type[SparseInputs]] = {
    method.name: method for method in (FixedExposure, Multilateration, SparseInputs)
}

__all__ = [
    "INPUT_SOURCES",
    "METHODS",
    "Design",
    "ErrorCurve",
    "ErrorPoint",
    "ExposureError",
    "FixedExposure",
    "GivenInputs",
    "InputSource",
    "MatrixChangedError",
    "Multilateration",
    "NaturalRows",
    "RetrievalMethod",
    "Retrieved",
    "SamePairs",
    "SameShares",
    "Scale",
    "SparseInputs",
    "error_curve",
    "frames_needed",
    "frames_of",
    "retrieve",
    "row_errors",
]
