"""Over which times the analytics add up."""

import enum


class Grain(enum.StrEnum):
    """How long the time is that a row adds up."""

    QUARTER = "quarter"
    """A quarter of an hour: zones are off UTC by multiples of it."""

    DAY = "day"
    """A day in the organization's zone: 23 or 25 hours long, twice a year."""

    WEEK = "week"
    """From Monday on."""

    MONTH = "month"
    YEAR = "year"
