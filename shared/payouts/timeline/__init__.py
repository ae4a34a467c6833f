"""The timeline of a payout: everything that happened to it, in order, and what is expected next, by when."""

from shared.payouts.timeline.expected import Expected
from shared.payouts.timeline.order import Event
from shared.payouts.timeline.telling import EVENTS_MOST, Timeline, timeline

__all__ = ["EVENTS_MOST", "Event", "Expected", "Timeline", "timeline"]
