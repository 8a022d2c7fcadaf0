"""A job template with its parameters, read by Open Job Description's own library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from openjd.model import (
    DecodeValidationError,
    Job,
    RevisionExtensions,
    SpecificationRevision,
    Step,
    StepDependencyGraph,
    StepParameterSpaceIterator,
    create_job,
    decode_job_template,
    preprocess_job_parameters,
)

from ..client.errors import TokenFlowError
from .worker_engine import PACKAGE_ROOT

TEMPLATE = PACKAGE_ROOT / "farm" / "tokenflow_edit.yaml"
EXTENSIONS = ("TASK_CHUNKING", "REDACTED_ENV_VARS", "FEATURE_BUNDLE_1")
REVISION = RevisionExtensions(
    spec_rev=SpecificationRevision.v2023_09, supported_extensions=list(EXTENSIONS)
)


@dataclass(frozen=True)
class FarmJob:
    """A template and the values of its parameters, as they travel to a worker.

    template: the parsed document. values: parameter values as text. folder: where the template
    lies. rules: path mapping rules as Open Job Description writes them, for the workers.
    """

    template: Mapping[str, Any]
    values: Mapping[str, str]
    folder: str
    rules: tuple[Mapping[str, str], ...] = ()

    def parameters(self) -> Any:
        """Checked parameter values, as a session wants them.

        Raises:
            TokenFlowError: code "bad_request".
        """
        try:
            return preprocess_job_parameters(
                job_template=self._decoded(),
                job_parameter_values=dict(self.values),
                job_template_dir=Path(self.folder),
                current_working_dir=Path.cwd(),
                allow_job_template_dir_walk_up=True,
            )
        except ValueError as error:
            raise _refused("The job's parameters will not do", error) from error

    def job(self) -> Job:
        """The job that they make.

        Raises:
            TokenFlowError: code "bad_request".
        """
        values = self.parameters()
        try:
            return create_job(job_template=self._decoded(), job_parameter_values=values)
        except (DecodeValidationError, ValueError) as error:
            raise _refused("The job cannot be made", error) from error

    def _decoded(self) -> Any:
        try:
            return decode_job_template(
                template=dict(self.template), supported_extensions=list(EXTENSIONS)
            )
        except DecodeValidationError as error:
            raise _refused("The template is not valid", error) from error


def read_template(file: Path) -> dict[str, Any]:
    """The parsed template.

    Raises:
        TokenFlowError: code "bad_request".
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeError) as error:
        raise _refused(f'The template "{file}" cannot be read', error) from error
    if not isinstance(found, dict) or "specificationVersion" not in found:
        raise TokenFlowError(
            "bad_request",
            f'"{file}" is no job template.',
            "Give a template of Open Job Description, an edit list or a .blend.",
        )
    return found


def in_order(job: Job) -> list[tuple[Step, list[str]]]:
    """Steps with the names of those that must be done before, each after all of its own."""
    graph = StepDependencyGraph(job=job)
    return [
        (step, [edge.origin.step.name for edge in graph.step_node(stepname=step.name).in_edges])
        for step in graph.topo_sorted()
    ]


def tasks_of(step: Step) -> Iterator[dict[str, Any]]:
    """The parameter sets of a step's tasks, chunks as the template sizes them."""
    return iter(StepParameterSpaceIterator(space=step.parameterSpace))


def amounts_of(step: Step) -> dict[str, float]:
    """What a host must have for a step, by capability name; the least of each."""
    required = step.hostRequirements
    listed = [] if required is None or required.amounts is None else required.amounts
    return {amount.name: float(amount.min) for amount in listed if amount.min is not None}


def read_rules(file: Path | None) -> tuple[Mapping[str, str], ...]:
    """Path mapping rules out of a file in the form pathmapping-1.0.

    Raises:
        TokenFlowError: code "bad_request".
    """
    if file is None:
        return ()
    try:
        return tuple(json.loads(file.read_text(encoding="utf-8"))["path_mapping_rules"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refused(f'"{file}" holds no path mapping rules', error) from error


def _refused(what: str, error: Exception) -> TokenFlowError:
    reason = " ".join(str(error).split())
    return TokenFlowError(
        "bad_request", f"{what}: {reason[:300]}", "Correct it, then try again.", str(error)
    )
