"""A script, written whole from one seed. Each history has some of the troubles only, or they would hide each other."""

from dataclasses import replace
from random import Random
from uuid import UUID

from tests.simulation.api import AccountTrouble, Outage, OutageKind, Temper
from tests.simulation.network import Manners
from tests.simulation.script import (
    PARTITIONS,
    UNKNOWN_ACCOUNT,
    Cut,
    Fault,
    FaultKind,
    Kind,
    Script,
    Sent,
    Upgrade,
    rfc3339,
)

_FAULTS = tuple(FaultKind)
_USUAL = (6, 6, 2, 2, 1)
_SKEWED = ((1, 12, 1, 0, 1), (6, 0, 4, 8, 0), (0, 0, 12, 1, 0))
"""Long pauses, many rebalances, a network that is cut again and again."""


def write(seed: int) -> Script:
    random = Random(seed)
    calm = random.random() < 0.1
    skewed = not calm and random.random() < 0.2
    quiet_at = 0.0 if calm else random.uniform(10, 60 if skewed else 35)
    accounts = ("P1", "P2", UNKNOWN_ACCOUNT) if random.random() < 0.25 else ("P1",)
    sent = _requests(random, accounts)
    machines = random.choice((2, 3)) if skewed else random.choice((1, 2, 2, 3))
    window = random.choice((30.0, 90.0, 600.0))
    delivery = "at_least_once" if random.random() < 0.1 else "exactly_once"
    late = 3 if delivery == "exactly_once" and random.random() < 0.1 else 0
    upgraded = delivery == "exactly_once" and random.random() < 0.06
    temper = _temper(random, accounts, window + 60, calm=calm)
    return Script(
        sent=sent,
        faults=() if calm else _faults(random, machines, quiet_at, sent, skewed=skewed),
        refused=frozenset(each.message_id for each in sent if each.message_id and random.random() < 0.1),
        occupied=_occupied(random, sent) if temper.busy else (),
        machines=machines,
        temper=temper,
        kafka=Manners(
            0.002,
            slow=random.choice((0, 0.002, 0.01)),
            slowest=20.0,
            lost=random.choice((0, 0.001, 0.005, 0.02 if skewed else 0)),
        ),
        api=Manners(0.05, slow=random.choice((0, 0.05, 0.2)), slowest=15.0, lost=random.choice((0, 0.02, 0.1))),
        trouble=random.choice((0, 0.002, 0.01, 0.05 if skewed else 0)),
        compactions=_times(random, 8, 60.0) if random.random() < 0.5 else (),
        # Without transactions, what is said to be lost may have been answered in part.
        cuts=_cuts(random) if random.random() < 0.15 and delivery == "exactly_once" else (),
        upgrade=_upgrade(random) if upgraded else None,
        late=late,
        settings={
            "worker_create_timeout": random.choice((15.0, 60.0, 120.0)),
            "worker_completion_timeout": random.choice((20.0, 60.0)),
            "worker_dedupe_window": 60.0 if late else 86_400.0,
            "dintero_idempotency_window": window,
            "worker_backlog_limit": 1_000 if calm else random.choice((2, 5, 1_000)),
            "worker_delivery": delivery,
        },
        quiet_at=quiet_at,
    )


def _requests(random: Random, accounts: tuple[str, ...]) -> tuple[Sent, ...]:
    terminals = [f"{random.choice(accounts)}-T{number}" for number in range(random.randint(1, 4))]
    last = random.choice((0.5, 5.0, 15.0))
    sent: list[Sent] = []
    for at in sorted(random.uniform(0, last) for _ in range(random.randint(5, 14))):
        number = random.randrange(len(terminals))
        operation = random.choice(("end_of_day", "send_logs", "open_menu"))
        data = {"terminal_id": terminals[number], "operation": operation, "parameters": {"n": len(sent)}}
        if random.random() < 0.3:
            data["expires_at"] = rfc3339(at + random.uniform(0.05, 20.0))
        id_ = str(UUID(int=random.getrandbits(128), version=4))
        request = Sent(at, Kind.REQUEST, terminals[number], number % PARTITIONS, id_, data)
        sent.append(_variant(random, request, [each for each in sent if each.kind is Kind.REQUEST]))
    return tuple(sent)


def _variant(random: Random, request: Sent, earlier: list[Sent]) -> Sent:
    """Now and then something else than a new request."""
    chance = random.random()
    if earlier and chance < 0.12:
        return replace(random.choice(earlier), at=request.at, kind=Kind.DUPLICATE)
    if earlier and chance < 0.2:
        first = random.choice(earlier)
        return replace(first, at=request.at, kind=Kind.REUSED, data={**first.data, "parameters": {"other": True}})
    if chance < 0.25:
        return replace(request, kind=Kind.INVALID, data={**request.data, "operation": "explode"})
    if chance < 0.3:
        return replace(request, kind=Kind.ANONYMOUS, message_id=None)
    return request


def _temper(random: Random, accounts: tuple[str, ...], forgets_after: float, *, calm: bool) -> Temper:
    troubles: tuple[AccountTrouble, ...] = ()
    if len(accounts) > 1:
        until = random.choice((5.0, 40.0, 1e9))
        troubles = (AccountTrouble("P2", random.choice((401, 403, 503)), until),)
    return Temper(
        busy=random.random() < 0.3,
        slowest=random.choice((0.5, 4.0, 10.0)),
        stuck=0.0 if calm else random.choice((0.0, 0.0, 0.05)),
        not_run=random.choice((0.0, 0.1, 0.4)),
        broken=random.choice((0.0, 0.1, 0.4)),
        nonsense=random.choice((0.0, 0.1, 0.3)),
        outages=() if calm else _outages(random),
        accounts=troubles,
        forgets_after=forgets_after,
    )


def _outages(random: Random) -> tuple[Outage, ...]:
    """Most are short; one in some thirty histories outlasts every timeout."""
    if random.random() < 0.7:
        return ()
    start = random.uniform(0, 20)
    seconds = random.uniform(600, 900) if random.random() < 0.1 else random.uniform(1, 10)
    return (Outage(start, start + seconds, random.choice(tuple(OutageKind))),)


def _occupied(random: Random, sent: tuple[Sent, ...]) -> tuple[tuple[float, str, float], ...]:
    """When, which terminal and how long: now and then longer than a create is tried."""
    longest = random.choice((6.0, 6.0, 100.0))
    terminals = sorted({each.terminal for each in sent})
    return tuple((random.uniform(0, 15), random.choice(terminals), random.uniform(1, longest)) for _ in range(3))


def _faults(
    random: Random, machines: int, quiet_at: float, sent: tuple[Sent, ...], *, skewed: bool
) -> tuple[Fault, ...]:
    """Half of them at any time, half soon after a request, when there is most to go wrong."""
    faults = []
    weights, most = (random.choice(_SKEWED), 15) if skewed else (_USUAL, 6)
    for _ in range(random.randint(0, most)):
        at = random.choice((random.uniform(0, quiet_at), random.choice(sent).at + random.expovariate(0.5)))
        kind = random.choices(_FAULTS, weights)[0]
        seconds = random.choice((random.uniform(0, 3), random.uniform(8, 25)))
        steps = min(int(random.expovariate(0.03)), 200)
        faults.append(Fault(min(at, quiet_at), kind, random.randrange(machines), steps, seconds))
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _cuts(random: Random) -> tuple[Cut, ...]:
    cuts = (Cut(at, random.randrange(PARTITIONS), random.choice((0.3, 0.7, 1.0))) for at in _times(random, 3, 25.0))
    return tuple(cuts)


def _upgrade(random: Random) -> Upgrade:
    key = random.choice((b"position", str(UUID(int=random.getrandbits(128), version=4)).encode()))
    return Upgrade(random.choice((0.0, random.uniform(0, 30))), random.randrange(PARTITIONS), key)


def _times(random: Random, most: int, last: float) -> tuple[float, ...]:
    return tuple(sorted(random.uniform(0, last) for _ in range(random.randint(1, most))))
