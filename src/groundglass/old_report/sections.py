"""The page is a list of sections. A section is a part of a study: it shows itself when its records are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from groundglass.old_report.study import Progress, Study


@dataclass(frozen=True)
class Rendered:
    """A section with all that its template needs.

    Attributes:
        anchor: its name within the page.
        title: its heading.
        template: file in templates/.
        context: what the template sees.
        progress: of the part of the plan that it shows.
    """

    anchor: str
    title: str
    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def short(self) -> str:
        """The heading as a list of contents has it: up to its colon."""
        return self.title.partition(":")[0]


@dataclass(frozen=True)
class Told:
    """What the head of the page says of one study.

    Attributes:
        lead: what to remember, in a sentence or two.
        said: the whole, a sentence each, the lead among them or put together from them.
    """

    lead: str
    said: Sequence[str]


class Section(Protocol):
    def render(self, study: Study) -> Rendered | None:
        """The section, or None while none of its records is there. Draws its figures; computes nothing."""
        ...
