"""What a store must hold after gateways were killed that delegate: its records are counted anew, and
set against its rows and what the clients were answered. Reads plain SQLite, without the code that
writes it."""
import calendar
import collections
import json
import os
import sqlite3
import time

from crash_ledger import PRICES, reached, store

# How long another process may keep the file.
PATIENCE = 60


class Account:
    """One account, as the records tell of it."""

    def __init__(self, parent, available, path=(), cap=None):
        self.parent, self.available, self.path, self.cap = parent, available, path, cap
        self.given = self.owed = available if path else 0
        self.reserved = self.spent = self.carved = 0
        self.open = True


class Count:
    """The store at one moment, and its records counted."""

    def __init__(self, dir, limit):
        self.limit, self.faults = limit, []
        self.accounts, self.made, self.closes = {}, {}, {}
        self.held, self.ends, self.refused = {}, {}, set()
        self.rows, self.delegations, self.transfers = {}, {}, set()
        # What is open below an account.
        self.below = collections.defaultdict(set)
        db = sqlite3.connect(f"file:{store(dir)}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            db.execute("BEGIN")
            lines = [line for (line,) in db.execute("SELECT line FROM record ORDER BY seq")]
            self.rows = {row["id"]: dict(row) for row in db.execute("SELECT * FROM account")}
            for row in db.execute("SELECT * FROM delegation"):
                self.delegations[row["token"].hex()] = dict(row)
            self.transfers = {id.hex() for (id,) in db.execute("SELECT id FROM transfer")}
        except sqlite3.OperationalError as error:
            # Killed before there was a store.
            if "no such table" not in str(error):
                raise
            lines = []
        finally:
            db.close()
        for line in lines:
            self.read(json.loads(line))

    def read(self, record):
        event = record["event"]
        args = json.loads(record["args"]) if "args" in record else {}
        if event == "declare":
            self.declare(record["note"])
        elif event == "delegate":
            self.delegate(record)
        elif event == "close":
            self.close(record)
        elif event == "cap":
            self.cap(record)
        elif event == "hold":
            if record["hold"] in self.held or record["decision"] != "allowed":
                self.faults.append(f"a hold is recorded twice, or was not let through: {record}")
            self.held[record["hold"]] = (args["n"], record["tool"], record["cost"], record["account"])
            for account in self.through(record["account"]):
                account.available -= record["cost"]
                account.reserved += record["cost"]
                if account.available < 0 or not account.open:
                    self.faults.append(f"a hold on an account that is empty or closed: {record}")
        elif event in ("post", "void"):
            self.end(record)
        elif event == "refusal":
            self.refused.add(args.get("n"))
        else:
            self.faults.append(f"a record of nothing that was done: {record}")

    def declare(self, note):
        book = next(iter(self.rows)).split("/", 1)[0]
        for name in (words.split(" opened: ")[0] for words in note.split("; ")):
            root = f"{book}/root"
            if name == "root":
                self.accounts[root] = Account(None, self.limit)
            else:
                self.accounts[f"{book}/{name}"] = Account(root, self.limit // 3, cap=self.limit // 3)

    def cap(self, record):
        id = record["account"]
        above = id.split("/", 1)[0] + "/" + record["note"].removeprefix("below ")
        if id in self.accounts or not self.accounts[above].open:
            self.faults.append(f"a ceiling twice, or below an account that is closed: {record}")
        limit = self.rows[id]["cap"]
        self.accounts[id] = Account(above, limit, cap=limit)
        self.below[above].add(id)

    def through(self, id):
        """An account, and those above up to one that owns credits."""
        while True:
            account = self.accounts[id]
            yield account
            if account.cap is None:
                return
            id = account.parent

    def delegate(self, record):
        id, giver, amount = record["note"], record["account"], record["cost"]
        if id in self.accounts or record["token"] in self.made or not id.endswith("/token/" + record["token"]):
            self.faults.append(f"a delegation is recorded twice, or of another token: {record}")
        self.made[record["token"]] = record
        path = list(self.through(giver))
        for account in path:
            account.available -= amount
            account.carved += amount
            if account.available < 0 or not account.open:
                self.faults.append(f"delegated from an account that is empty or closed: {record}")
        self.accounts[id] = Account(giver, amount, path)
        self.below[giver].add(id)

    def close(self, record):
        id = record["account"]
        account = self.accounts[id]
        if id in self.closes or record["cost"] != (account.available if account.cap is None else 0):
            self.faults.append(f"closed twice, or with {account.available} left: {record}")
        if self.below[id]:
            self.faults.append(f"closed above accounts that are open: {record}")
        self.below[account.parent].discard(id)
        self.closes[id] = record
        account.open = False
        if account.cap is None:
            self.climb(account)

    def climb(self, account):
        """What a closed account has goes up to the nearest open one."""
        rest = account.available
        while rest and not account.open:
            freed = min(rest, account.owed)
            account.owed -= freed
            account.available -= rest
            *ceilings, giver = account.path
            for ceiling in ceilings:
                ceiling.available += freed
                ceiling.carved -= freed
            giver.available += rest
            giver.carved -= rest
            account = giver

    def end(self, record):
        hold = record["hold"]
        if hold in self.ends or hold not in self.held:
            self.faults.append(f"an end of nothing, or the second: {record}")
            return
        self.ends[hold] = record
        _, _, held, id = self.held[hold]
        if record["event"] == "post" and record["cost"] != held:
            self.faults.append(f"charged otherwise than held: {record}")
        for account in self.through(id):
            account.reserved -= held
            if record["event"] == "post":
                account.spent += held
            else:
                account.available += held
                if not account.open:
                    self.climb(account)

    def adds_up(self):
        yield from self.faults
        if self.rows.keys() != self.accounts.keys():
            yield f"accounts {self.rows.keys() ^ self.accounts.keys()} are recorded, or kept, alone"
            return
        total = 0
        for id, account in self.accounts.items():
            row = self.rows[id]
            told = [account.parent, account.open, account.reserved, account.spent]
            kept = [row["parent"], bool(row["open"]), row["reserved"], row["spent"]]
            if account.cap is None:
                total += row["available"] + row["reserved"] + row["spent"]
                told += [account.available, account.given or self.limit]
                source = json.loads(row["source"]) if row["source"] else {"given": row["issued"]}
                kept += [row["available"], source["given"]]
            else:
                told += [account.reserved + account.spent, account.carved, account.cap]
                kept += [row["used"], row["carved"], row["cap"]]
            if told != kept:
                yield f"{id} is {kept}, and the records come to {told}"
        if self.rows and total != self.limit:
            yield f"{total} credits are there of {self.limit}"
        yield from self.delegations_are_whole()

    def delegations_are_whole(self):
        """Account, row, transfer and record of a delegation are there together, or none is."""
        carved = {id.split("/token/")[1] for id, row in self.rows.items() if row["source"]}
        found = {"row": self.delegations.keys(), "record": self.made.keys(), "transfer": self.transfers & carved}
        for name, there in found.items():
            if there != carved:
                yield f"delegations {sorted(there ^ carved)} have a {name}, or an account, alone"
        # Those of ceilings have ids of their own.
        if len(self.transfers - carved) != sum("/cap/" in id for id in self.rows):
            yield f"transfers {self.transfers - carved} are of no account"
        for token, row in self.delegations.items():
            if not row["account"].endswith("/token/" + token):
                yield f"delegation {token} has the account {row['account']}"
            above = self.rows.get(self.rows[row["account"]]["parent"], {}) if row["account"] in self.rows else {}
            if above and not above["open"] and self.rows[row["account"]]["open"]:
                yield f"{row['account']} is open below {above['id']}, which is closed"


def check(dir, said, settled=False):
    """What does not hold, of the store and of what clients were answered."""
    if not os.path.exists(store(dir)):
        if said["made"] or said["calls"]:
            yield "there is no store"
        return
    # Before the records: what goes to a server later may be in them already.
    arrived = reached(dir)
    count = Count(dir, said["limit"])
    yield from count.adds_up()
    if count.accounts:
        yield from calls(count, said, arrived)
        yield from delegations(count, said)
        yield from revocations(count, said)
    if settled:
        yield from is_settled(count)


def calls(count, said, arrived):
    by_number = {n: hold for hold, (n, *_) in count.held.items()}
    if len(by_number) != len(count.held):
        yield "a call is held for twice"
    for n, hold in by_number.items():
        kind = said["calls"].get(str(n), [None, "nobody asked for it"])[1]
        if kind not in ("paid", "declined", "lost", "not sent", "unanswered"):
            yield f"call {n} is held for, and its answer was: {kind}"
    paid = collections.Counter()
    for n, (tool, kind, account) in said["calls"].items():
        hold = by_number.get(int(n))
        held, end = count.held.get(hold), count.ends.get(hold)
        what = f"call {n} of {tool} for {account}, {kind}: {held} {end}"
        if held and (held[2] != PRICES[tool] or held[3].split("/", 1)[1] != account):
            yield f"{what}: it is held for at another price, or on another account"
        elif kind in ("paid", "declined", "lost") and not held:
            yield f"{what}: no hold is recorded"
        elif kind in ("paid", "lost") and end and end["event"] != "post":
            yield f"{what}: it was not charged"
        elif (kind == "declined" or kind == "not sent" and held) and (not end or end["event"] != "void"):
            yield f"{what}: what was given back is not recorded"
        elif kind == "refused" and int(n) not in count.refused:
            yield f"{what}: its refusal is not recorded"
        paid[tool] += kind == "paid"
    for tool in paid:
        if paid[tool] > arrived[tool]:
            yield f"{paid[tool]} calls of {tool} were answered, {arrived[tool]} reached the server"
    held_for = collections.Counter(tool for _, tool, *_ in count.held.values())
    for tool, came in arrived.items():
        if came > held_for[tool]:
            yield f"{came} calls of {tool} reached the server, {held_for[tool]} were let through"


def delegations(count, said):
    labels = {}
    for token, row in count.delegations.items():
        if row["label"] in labels:
            yield f"what was asked for as {row['label']} was delegated twice"
        labels[row["label"]] = token
    for token, (label, giver, budget, expires) in said["made"].items():
        record, row = count.made.get(token), count.delegations.get(token)
        if not record or not row or row["account"] not in count.rows:
            yield f"delegation {token} was answered, and is not there"
            continue
        until = count.rows[row["account"]]["expires"]
        kept = [row["label"], record["account"].split("/", 1)[1], record["cost"], until]
        if kept != [label, giver, budget, milliseconds(expires)]:
            yield f"delegation {token} is {kept}, and was answered as {[label, giver, budget, expires]}"
    answered = {label for label, *_ in said["made"].values()}
    for label in labels.keys() - answered - set(said["unanswered"]):
        yield f"{label} is delegated, and was refused or not asked for"


def revocations(count, said):
    book = next(iter(count.rows)).split("/", 1)[0]
    for token, (returned, tries) in said["ended"].items():
        record = count.closes.get(f"{book}/token/{token}")
        if record is None:
            yield f"{token} was revoked, and is not closed"
        elif returned != record["cost"] and not (returned == 0 and (record.get("token") != token or tries > 1)):
            yield f"{token} was revoked for {returned}: {record}"


def is_settled(count):
    if count.held.keys() != count.ends.keys():
        yield f"holds {count.held.keys() - count.ends.keys()} are open"
    for id, account in count.accounts.items():
        rest = account.reserved + (account.available if account.cap is None else 0)
        if "/token/" in id and (account.open or rest):
            yield f"{id} is not over: {vars(account)}"
        if id.endswith("/root"):
            # By the ends alone, whatever the accounts between.
            spent = sum(end["cost"] for end in count.ends.values() if end["event"] == "post")
            if count.rows[id]["available"] != count.limit - spent:
                yield f"the root has {count.rows[id]['available']} of {count.limit}, and {spent} are spent"


def milliseconds(timestamp):
    if timestamp is None:
        return None
    whole, fraction = timestamp.rstrip("Z").split(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(fraction[:3].ljust(3, "0"))
