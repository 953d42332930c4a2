"""What a store must hold after gateways were killed, read as plain SQLite, without the code that
writes it."""
import collections
import json
import os
import sqlite3

# How long another process may keep the file.
PATIENCE = 60
PRICES = {"t1": 1, "t3": 3, "t7": 7, "slow": 2, "declined": 4, "free": 0, "d1": 1, "die": 5}


def store(dir):
    return os.path.join(dir, ".local/state/tollgate/ledger.db")


def reached(dir):
    try:
        with open(os.path.join(dir, "calls")) as file:
            return collections.Counter(file.read().split())
    except FileNotFoundError:
        return collections.Counter()


class Ledger:
    """The store at one moment."""

    def __init__(self, dir):
        self.held, self.ends, self.refused, self.faults = {}, {}, set(), []
        self.bare_refusals = 0
        self.holds, self.accounts = {}, {}
        db = sqlite3.connect(f"file:{store(dir)}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)
        try:
            db.execute("BEGIN")
            lines = [json.loads(line) for (line,) in db.execute("SELECT line FROM record ORDER BY seq")]
            for id, *hold in db.execute("SELECT id, amount, state, posted, path FROM hold"):
                self.holds[id.hex()] = hold
            columns = "id, kind, reserved, spent, issued, available, cap, used"
            for id, *account in db.execute(f"SELECT {columns} FROM account"):
                self.accounts[id.split("/", 1)[1]] = account
        except sqlite3.OperationalError as error:
            # Killed before there was a store.
            if "no such table" not in str(error):
                raise
            lines = []
        finally:
            db.close()
        for line in lines:
            self.read(line)

    def read(self, record):
        event, hold = record["event"], record.get("hold")
        args = json.loads(record["args"]) if "args" in record else {}
        if event == "hold":
            if hold in self.held or record.get("decision") != "allowed":
                self.faults.append(f"a hold is recorded twice, or was not let through: {record}")
            self.held[hold] = (args["n"], record["tool"], record["cost"])
        elif event in ("post", "void"):
            if hold in self.ends or hold not in self.held:
                self.faults.append(f"an end of nothing, or the second: {record}")
            self.ends[hold] = record
        elif event == "refusal" and "n" in args:
            self.refused.add(args["n"])
        elif event == "refusal":
            self.bare_refusals += 1

    def open(self):
        return self.held.keys() - self.ends.keys()

    def swept(self):
        """Holds that no gateway has ended."""
        lost = [end for end in self.ends.values() if end.get("status") == "lost"]
        return sum("latency_us" not in end for end in lost)

    def adds_up(self, limit):
        yield from self.faults
        if self.holds.keys() != self.held.keys():
            yield f"holds {self.holds.keys() ^ self.held.keys()} are recorded, or kept, alone"
        sums = collections.defaultdict(lambda: [0, 0])
        for id, (amount, state, posted, path) in self.holds.items():
            if (state == 0) != (id not in self.ends):
                yield f"hold {id} is open, or ended, alone in the records"
            for leg in json.loads(path):
                account = (leg["account"] if isinstance(leg, dict) else leg[0]).split("/", 1)[1]
                sums[account][0] += amount if state == 0 else 0
                sums[account][1] += posted
        for name, (kind, reserved, spent, issued, available, cap, used) in self.accounts.items():
            if sums[name] != [reserved, spent]:
                yield f"{name} has {reserved} reserved and {spent} spent, and holds come to {sums[name]}"
            if kind == "funded" and not (issued == limit == available + reserved + spent and available >= 0):
                yield f"{name}: {issued} issued, {available} available, {reserved} reserved, {spent} spent"
            if kind == "ceiling" and not (used == reserved + spent <= cap == limit // 3):
                yield f"{name}: {used} of {cap} used, {reserved} reserved, {spent} spent"


def check(dir, limit, seen, settled=False):
    """What does not hold. Every call whose answer was seen is recorded as it was answered."""
    if not os.path.exists(store(dir)):
        if seen:
            yield "there is no store"
        return
    # Before the records: what goes to a server later may be in them already.
    arrived = reached(dir)
    ledger = Ledger(dir)
    yield from ledger.adds_up(limit)
    if settled and ledger.open():
        yield f"holds {ledger.open()} are open"
    by_number = {n: hold for hold, (n, _, _) in ledger.held.items()}
    if len(by_number) != len(ledger.held):
        yield "a call is held for twice"
    held_for = collections.Counter(tool for _, tool, _ in ledger.held.values())
    for tool, calls in arrived.items():
        if calls > held_for[tool]:
            yield f"{calls} calls of {tool} reached the server, {held_for[tool]} were let through"
    yield from whole_in(ledger, by_number, arrived, seen, settled)


def whole_in(ledger, by_number, arrived, seen, settled):
    without = 0
    paid = collections.Counter()
    for n, (tool, kind) in seen.items():
        hold = by_number.get(int(n))
        end = ledger.ends.get(hold)
        what = f"call {n} of {tool}, {kind}: {end}"
        if kind == "refused":
            if hold or int(n) not in ledger.refused:
                yield f"{what}: its refusal is not recorded"
            continue
        if kind == "not sent" and not hold:
            without += 1
            continue
        if not hold or ledger.held[hold][2] != PRICES[tool]:
            yield f"{what}: no hold at its price is recorded"
        elif kind in ("declined", "not sent"):
            if not end or end["event"] != "void":
                yield f"{what}: what was given back is not recorded"
        elif end and (end["event"] != "post" or end["cost"] != PRICES[tool]):
            yield f"{what}: it was not charged its price"
        elif settled and not end:
            yield f"{what}: it was never charged"
        paid[tool] += kind == "paid"
    if without > ledger.bare_refusals:
        yield f"{without} refusals were seen, {ledger.bare_refusals} are recorded"
    for tool in paid:
        if paid[tool] > arrived[tool]:
            yield f"{paid[tool]} calls of {tool} were answered, {arrived[tool]} reached the server"
