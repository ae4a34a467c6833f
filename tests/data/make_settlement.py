"""Generate settlement.csv: a carrier's week with 1,000 payouts to 50 drivers.

`python make_settlement.py > settlement.csv` always writes the same file. Instant amounts are multiples of $50, because
their fees then have no fraction of a cent.
"""

import csv
import random
import sys

FIRST = [
    "John",
    "Maria",
    "José",
    "Aisha",
    "Zoë",
    "Wei",
    "Darnell",
    "Svetlana",
    "Miguel",
    "Priya",
    "Siobhán",
    "Kofi",
    "Bjørn",
    "Linda",
    "Tyrone",
]
LAST = [
    "Smith",
    "Garcia",
    "Núñez",
    "O'Brien",
    "Nguyen",
    "Kowalski",
    "Johnson",
    "Petrova",
    "Okafor",
    "Müller",
    "Singh",
    "Lee",
    "Brown",
    "Silva",
]
CITIES = ["Dallas TX", "Memphis TN", "Laredo TX", "Atlanta GA", "Chicago IL", "Fresno CA", "Reno NV", "Kansas City MO"]


def main() -> None:
    chance = random.Random("settlement of 2026-01-31")
    names = chance.sample([f"{first} {last}" for first in FIRST for last in LAST], 50)
    drivers = [
        (f"OVN-DRIVER-{number}", name, f"driver{number}@fleet.example") for number, name in enumerate(names, start=1001)
    ]
    # Each driver has at least one payout; some have several a day.
    driven = [*drivers, *chance.choices(drivers, weights=[chance.choice([1, 2, 5, 9]) for _ in drivers], k=950)]
    chance.shuffle(driven)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["driver_id", "name", "email", "amount_cents", "urgency", "load_id", "description"])
    for number, driver in enumerate(driven):
        load_id = f"L-{40_001 + number * 7 // 8}"  # sometimes two payouts belong to one load
        table.writerow([*driver, *payout(chance, load_id, number)])


def payout(chance: random.Random, load_id: str, number: int) -> tuple[int, str, str, str]:
    """Return amount in cents, urgency, load id, description; descriptions are unique."""
    kind = chance.choices(["linehaul", "advance", "detention", "lumper", "bonus"], weights=[70, 9, 9, 7, 5])[0]
    match kind:
        case "linehaul":
            start, end = chance.sample(CITIES, 2)
            return (
                chance.randint(60_000, 420_000),
                "standard",
                load_id,
                f"Linehaul {start}, {end}, #{load_id} ({number})",
            )
        case "advance":
            return chance.randrange(20_000, 80_000, 5_000), "instant", load_id, f"Fuel advance #{load_id} ({number})"
        case "detention":
            hours = chance.randint(1, 6)
            return hours * 5_000, "standard", load_id, f'Detention "{hours} h" #{load_id} ({number})'
        case "lumper":
            return chance.randint(8_000, 35_000), "standard", load_id, f"Lumper receipt #{load_id} ({number})"
        case _:
            return chance.choice([10_000, 25_000, 50_000]), "same_day", load_id, f"Safety bonus #{load_id} ({number})"


if __name__ == "__main__":
    main()
