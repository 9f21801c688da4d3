"""Lights in which each field of a capture plan is taken besides white: colours apart, oblique light, darkness."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from mobilescope.core.config import StrictModel
from mobilescope.core.errors import PlanError
from mobilescope.core.ring_model import Colour
from mobilescope.plans.illumination import CHANNELS, PATTERN_NAMES, Pattern, written_colour

WHITE: Colour = (255, 255, 255)


class FieldLight(StrictModel):
    """One light of a field.

    Attributes
    ----------
    name : str
        What its captures are called in the session.
    pattern : str
        Which pixels of the ring are lit; ``"dark"`` for none.
    position : int
        First pixel of a half ring, pixel of a single one, channel 0-2 of a channel.
    brightness : float
        What scales the colour, 0-1.
    every : int
        Taken at the first field and at every so many from there on.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=32)
    pattern: Literal["bright-field", "half-ring", "single", "channel", "dark"] = "bright-field"
    position: int = Field(default=0, ge=0)
    colour: Annotated[Colour, BeforeValidator(written_colour)] = WHITE
    brightness: float = Field(default=1.0, gt=0, le=1)
    every: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        if self.pattern == "dark":
            if self.position or self.colour != WHITE or self.brightness != 1.0:
                raise ValueError("in the dark there are no position, colour and brightness")
            return self
        try:
            self.as_pattern()
        except PlanError as error:
            raise ValueError(f"{error.cause}; {error.remedy}") from error
        if not any(self.shown):
            raise ValueError("this colour is dark; name the pattern dark")
        return self

    @property
    def is_dark(self) -> bool:
        """Whether nothing is lit."""
        return self.pattern == "dark"

    @property
    def is_uniform(self) -> bool:
        """Whether the whole ring shows one colour."""
        return self.pattern in ("bright-field", "channel")

    @property
    def shown(self) -> Colour:
        """The colour of lit pixels: of a channel, that channel alone; brightness not yet applied."""
        if self.pattern != "channel":
            return self.colour
        red, green, blue = (value if channel == self.position else 0 for channel, value in enumerate(self.colour))
        return red, green, blue

    def as_pattern(self) -> Pattern:
        """Return the pattern for the ring, with the brightness applied."""
        red, green, blue = (max(1, round(value * self.brightness)) if value else 0 for value in self.colour)
        return Pattern(PATTERN_NAMES[self.pattern], self.position, (red, green, blue))

    def is_due(self, index: int) -> bool:
        """Tell whether the field at a place in the walk is taken in it."""
        return index % self.every == 0


_CHANNELS = [{"name": name, "pattern": "channel", "position": place} for place, name in enumerate(CHANNELS)]
_NAMED: dict[str, list[dict[str, Any]]] = {
    "channels": _CHANNELS,
    **{str(channel["name"]): [channel] for channel in _CHANNELS},
    "dark": [{"name": "dark", "pattern": "dark"}],
}


def _stands_for(each: object) -> list[Any]:
    """Return the lights that an entry stands for: a name for one or more, a table of positions for one each."""
    if isinstance(each, str):
        if each not in _NAMED:
            raise ValueError(f"there is no light {each!r}; known ones are {', '.join(_NAMED)}, or write a table")
        return list(_NAMED[each])
    if not isinstance(each, dict) or "positions" not in each:
        return [each]
    rest = {key: value for key, value in each.items() if key != "positions"}
    if "position" in rest or not isinstance(each["positions"], list | tuple) or "name" not in rest:
        raise ValueError("positions is a list, beside a name and in place of position")
    return [rest | {"name": f"{rest['name']}-{place}", "position": place} for place in each["positions"]]


def _written_out(given: object, lights: ValidatorFunctionWrapHandler) -> Any:
    """Check the lights that entries stand for; a mistake is counted by the entries, which are what the plan shows."""
    if not isinstance(given, list | tuple):
        return lights(given)
    written = [(index, light) for index, each in enumerate(given) for light in _stands_for(each)]
    try:
        return lights([light for _, light in written])
    except ValidationError as error:
        raise ValidationError.from_exception_data(error.title, [
            InitErrorDetails(
                type=each["type"], loc=(written[int(each["loc"][0])][0], *each["loc"][1:]), input=each["input"],
                ctx=each.get("ctx", {}),
            )
            for each in error.errors()
        ]) from error


def _names_differ(lights: tuple[FieldLight, ...]) -> tuple[FieldLight, ...]:
    names = [light.name for light in lights]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two lights are called {twice}")
    return lights


FieldLights = Annotated[tuple[FieldLight, ...], WrapValidator(_written_out), AfterValidator(_names_differ)]
