#!/usr/bin/env python3
"""Gateways that are killed with -9 while their callers delegate, spend, revoke and let expire, and
what their store says after.

    crash_delegation.py run DIR --binary TOLLGATE --mode none|header --kills N [--steps N] [--gateways N] [--seed N]
    crash_delegation.py settle DIR --binary TOLLGATE --mode none|header

The first `--steps` kills follow the first, second, ... answer of a gateway, the others come at
random moments. `run` ends by revoking all that is open; `settle` ends the holds that were left open,
which takes that their time is over. Both print a line of JSON; whatever does not hold is in its
`faults`, and then the exit status is 1.
"""
import argparse
import base64
import collections
import hmac
import json
import os
import random
import sys
import time

# Nothing is left beside the tests.
sys.dont_write_bytecode = True
import crash  # noqa: E402
from crash_ledger import PRICES  # noqa: E402
from delegated_ledger import Count, check, milliseconds  # noqa: E402

IN_FLIGHT = 8
DEEPEST = 5
LIMITS = [3_000, 100_000, 1_000_000]
TOOLS = {"t1": 25, "t3": 20, "t7": 15, "slow": 20, "declined": 8}
WORK = {"call": 50, "delegate": 26, "revoke": 12, "budget": 6, "stale": 6}
# What a child that does not end by itself in time is asked to be; None leaves it out.
LASTING = [None, None, 3600, "30m"]
AGENTS = ["free", "capped"]
PATIENCE = crash.PATIENCE


class Child:
    """A caller: one that was there from the beginning, or a delegation that was answered."""

    def __init__(self, id, account, parent=None, secret=None, agent=None, mark=None, expires=None, budget=400):
        self.id, self.account, self.parent, self.secret = id, account, parent, secret
        self.agent, self.mark, self.expires, self.budget = agent, mark, expires, budget
        self.depth = parent.depth + 1 if parent else 0
        # When its end was first asked for and when answered, by the number of the request.
        self.asked = self.ended = None
        self.tries = 0

    def above(self):
        while self:
            yield self
            self = self.parent

    def has_expired(self):
        return self.expires is not None and self.expires <= time.time() * 1000

    def may_be_over(self):
        return any(it.asked is not None or it.has_expired() for it in self.above())

    def is_over(self, number, sent):
        """Whether a request of that number had to find it over."""
        return any((it.ended or number) < number or (it.expires or sent + 1) < sent for it in self.above())


class Gateway(crash.Gateway):
    """A gateway, and a client that delegates and calls with what it was given."""

    def __init__(self, run):
        super().__init__(run)
        self.answers = 0

    def call(self):
        run = self.run
        work = run.random.choices([*WORK], [*WORK.values()])[0]
        id, self.next = self.next, self.next + 1
        n = run.number()
        who = run.caller(self, over=work == "stale")
        request = {"n": n, "work": work, "who": who, "sent": time.time() * 1000}
        if work == "delegate" and who.depth >= DEEPEST:
            request["work"] = work = "call"
        if work == "revoke":
            request["whom"] = whom = run.someone(self)
            if whom is None or whom.parent is None:
                request["work"] = work = "budget"
        if work == "delegate":
            self.ask(id, who, "delegate", run.terms(n, who))
        elif work == "revoke":
            request["who"] = run.ender(whom)
            whom.asked = whom.asked or n
            whom.tries += 1
            by = [{"tokenId": whom.id}, {"budgetId": whom.account}]
            if run.mode == "none":
                by.append({"agent_id": whom.secret})
            self.ask(id, request["who"], "revoke", run.random.choice(by))
        elif work == "budget":
            self.ask(id, who, "budget", {})
        else:
            request["tool"] = tool = run.random.choices([*TOOLS], [*TOOLS.values()])[0]
            run.calls[n] = [tool, "unanswered", who.account]
            args = {"n": n}
            if tool == "slow":
                args["ms"] = run.random.randrange(5, 200)
            if tool == "declined":
                args["error"] = {"code": -32602, "message": "declined"}
            self.execute(id, who, "s", "rpc_error" if tool == "declined" else tool, args)
        self.pending[id] = request

    def execute(self, id, who, server, tool, args):
        asked = {"server": server, "tool": tool, "args": args}
        self.shown(id, "tools/call", {"name": "execute_tool"}, asked, who)

    def ask(self, id, who, what, args):
        """A built-in tool, by either of its ways."""
        # Where revoking names a handle, `agent_id` is taken.
        if self.run.random.random() < 0.5 or "agent_id" in args:
            self.execute(id, who, "gateway", what, args)
        else:
            self.shown(id, f"satgate/{what}" if what != "revoke" else "tollgate/revoke", None, dict(args), who)

    def shown(self, id, method, params, arguments, who):
        if self.run.mode == "none":
            arguments["agent_id"] = who.secret
        params = {**params, "arguments": arguments} if params else arguments
        if self.run.mode == "header":
            params["_meta"] = {"token": who.secret}
        self.send({"id": id, "method": method, "params": params})

    def hear(self, message):
        now = time.monotonic()
        if message.get("id") == 0:
            self.send({"method": "notifications/initialized"})
            self.loaded = now
            self.refill = [now] * IN_FLIGHT
            return
        request = self.pending.pop(message["id"])
        self.answered = self.answered or now
        self.answers += 1
        refused = self.run.heard(self, request, message)
        # Refusals come at once, and would come without end.
        self.refill.append(now + (0.02 if refused else 0))


def said_of(message):
    """What an answer says: a value, or the code of a refusal."""
    result = message.get("result")
    if result and "content" in result:
        text = result["content"][0]["text"]
        if result.get("isError"):
            return None, "lost" if "may have run" in text else json.loads(text)["error"]["code"]
        return (json.loads(text) if text.startswith("{") else result), None
    if result:
        return result, None
    error = message["error"]
    inner = (error.get("data") or {}).get("error")
    return None, (inner.get("code") if isinstance(inner, dict) else inner) or error["code"]


class Run(crash.Run):
    """One store, its gateways, and what their clients were answered."""

    def __init__(self, options):
        self.mode, self.steps = options.mode, options.steps
        self.calls, self.made, self.unanswered, self.ended = {}, {}, {}, {}
        self.children, self.counts = [], collections.Counter()
        super().__init__(options)
        self.limit = self.random.choice(LIMITS)
        crash.write_settings(self.dir, self.limit)
        path = os.path.join(self.dir, "gateway.yaml")
        with open(path) as file:
            settings = json.load(file)
        with open(path, "w") as file:
            json.dump({**settings, "auth": {"mode": self.mode}}, file)
        self.callers = [self.root(agent) for agent in AGENTS]
        if self.mode == "header":
            funded = self.root("free", 1_000)
            self.callers += [funded, self.capped(funded, 600)]

    def root(self, agent, budget=None):
        """A caller that no gateway made."""
        account = f"agent/{agent}" if agent == "capped" else "root"
        if self.mode == "none":
            return Child(None, account, secret=agent, agent=agent)
        of_its_own = ["--budget", str(budget), "--label", "minted"] if budget else []
        told = self.command("token", "mint", "--agent", agent, *of_its_own, "--json")
        if budget:
            self.made[told["tokenId"]] = ["minted", account, budget, None]
            account = told["budgetId"]
        return Child(told["tokenId"], account, secret=told["token"], agent=agent)

    def capped(self, caller, ceiling):
        """The same, narrowed to a part of its credits."""
        told = self.command("token", "narrow", caller.secret, "--ceiling", str(ceiling), "--json")
        encoded = told["token"].split(".")[1]
        # A ceiling is named by what the chain has come to with it.
        tag = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))[-32:]
        name = hmac.digest(tag, b"ceiling", "sha256")[:8].hex()
        return Child(caller.id, f"{caller.account}/cap/{name}", secret=told["token"], agent=caller.agent)

    def command(self, *args):
        process = crash.tollgate(self.binary, self.dir, *args)
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode != 0:
            self.fault(f"{' '.join(args)}: {process.returncode} {out} {err}")
            return {}
        return json.loads(out)

    def usable(self, child, gateway):
        return self.mode == "header" or child.mark in (None, gateway.mark)

    def caller(self, gateway, over):
        """Somebody who calls, mostly one who may; or one who may no more."""
        pick = lambda: self.random.choice(self.children[-40:] + self.callers)
        for _ in range(20):
            child = pick()
            if (child.may_be_over() or not self.usable(child, gateway)) == over:
                return child
        return self.random.choice(self.callers)

    def someone(self, gateway):
        found = [it for it in self.children[-30:] if self.usable(it, gateway) and not it.may_be_over()]
        return self.random.choice(found) if found else None

    def ender(self, whom):
        """Its maker, or one further up who has an account of its own."""
        above = list(whom.above())[1:]
        return self.random.choice([above[0], *(it for it in above if it.id and it.account.startswith("token/"))])

    def terms(self, n, who):
        label = f"d{n}"
        self.unanswered[label] = n
        most = max(2, who.budget * 2 // 3)
        asked = {"budget": self.random.randint(1, most), "label": label}
        lasts = 1 if self.random.random() < 0.25 else self.random.choice(LASTING)
        return {**asked, "expiresIn": lasts} if lasts else asked

    def heard(self, gateway, request, message):
        """Notes an answer; True if it is a refusal."""
        n, work, who = request["n"], request["work"], request["who"]
        value, code = said_of(message)
        what = f"{work} {n} of {who.account}, answered with {json.dumps(message)}"
        over = code in ("HANDLE_NOT_FOUND", "AUTH_REQUIRED", -32001)
        closed = code in ("DELEGATION_FAILED", "delegation_failed") and "closed" in json.dumps(message)
        if (over or closed) and self.usable(who, gateway) and not who.may_be_over():
            if not (work == "revoke" and request["whom"].may_be_over()):
                self.fault(f"refused though it goes on: {what}")
        if code is None and (who.is_over(n, request["sent"]) or not self.usable(who, gateway)):
            self.fault(f"let in though it is over: {what}")
        # Whose gateway was killed since.
        self.counts["by survivors"] += code is None and who.mark is not None and not self.lives(who.mark)
        getattr(self, {"stale": "of_call"}.get(work, f"of_{work}"))(gateway, request, value, code, what)
        return code is not None

    def of_call(self, gateway, request, value, code, what):
        n, tool = request["n"], request["tool"]
        kinds = {
            None: "paid", "lost": "lost", -32602: "declined", "SERVER_UNAVAILABLE": "not sent",
            "insufficient_budget": "refused", "budget_exhausted": "refused",
            "HANDLE_NOT_FOUND": "over", "AUTH_REQUIRED": "over",
        }
        kind = kinds.get(code)
        if kind is None or kind == "declined" and tool != "declined":
            self.fault(what)
        self.calls[n][1] = kind
        self.counts[kind] += 1

    def of_delegate(self, gateway, request, value, code, what):
        label = f"d{request['n']}"
        del self.unanswered[label]
        if code is not None:
            short = ("delegation_failed", "DELEGATION_FAILED", "insufficient_budget", "budget_exhausted")
            if code not in (*short, "HANDLE_NOT_FOUND", "AUTH_REQUIRED", -32001, -32602):
                self.fault(what)
            return
        who, id = request["who"], value["tokenId"]
        if id in self.made or value["budgetId"] != f"token/{id}":
            self.fault(f"an id twice, or of another account: {what}")
        self.made[id] = [label, who.account, value["budget"], value.get("expires_at")]
        secret = value["agent_id"] if self.mode == "none" else value["token"]
        expires = milliseconds(value.get("expires_at"))
        child = Child(id, value["budgetId"], who, secret, who.agent, gateway.mark, expires, value["budget"])
        self.children.append(child)
        self.counts[f"depth {child.depth}"] += 1

    def of_revoke(self, gateway, request, value, code, what):
        whom = request["whom"]
        if code is None:
            self.over(whom, value["returned"], self.numbers)
            self.counts["revoked"] += 1
        elif not (whom.tries > 1 or whom.has_expired() or whom.parent.may_be_over()):
            self.fault(f"not revoked: {what}")

    def over(self, child, returned, number):
        child.ended = child.ended or number
        before = self.ended.get(child.id, [0, 0])[0]
        self.ended[child.id] = [max(before, returned), child.tries]

    def of_budget(self, gateway, request, value, code, what):
        if code is not None:
            return
        if value["tokenId"] != request["who"].id or value["budgetId"] != request["who"].account:
            self.fault(f"a budget of another: {what}")
        if value["remaining"] + value["reserved"] + value["spent"] > value["limit"]:
            self.fault(f"a budget does not add up: {what}")

    def moment(self, victim):
        if self.kills >= self.steps:
            return super().moment(victim)
        deadline = victim.started + PATIENCE
        return lambda: victim.answers > self.kills or time.monotonic() > deadline

    def whole(self, gateways, many):
        gateways += [Gateway(self) for _ in range(many - len(gateways))]
        self.gateways = gateways
        if not self.checks:
            for command in (["budget", "prove", "--json"], ["audit", "verify", "--json"]):
                self.checks.append((command, crash.tollgate(self.binary, self.dir, *command), not self.made))

    def said(self):
        calls = {str(n): call for n, call in self.calls.items()}
        made, ended = self.made, self.ended
        return {"limit": self.limit, "calls": calls, "made": made, "unanswered": list(self.unanswered), "ended": ended}

    def check(self):
        self.faults += [f"after {self.kills} kills: {fault}" for fault in check(self.dir, self.said())]
        self.orphans()
        if not self.faults and os.path.exists(crash.store(self.dir)):
            self.take_back()

    def take_back(self):
        """An operator ends delegations that are lost or can no longer be named."""
        by_label = {row["label"]: token for token, row in Count(self.dir, self.limit).delegations.items()}
        for label in list(self.unanswered):
            if label in by_label and not any(label == f"d{it['n']}" for it in self.in_flight()):
                self.counts["made and not answered"] += label not in self.lost
                self.lost.add(label)
                if self.random.random() < 0.5 and by_label[label] not in self.ended:
                    self.operator(by_label[label])
        left = [it for it in self.children if not self.lives(it.mark) and not it.may_be_over()]
        left = [it for it in left if self.mode == "none" or self.random.random() < 0.02]
        for child in left[-1:]:
            child.asked, child.tries = self.numbers, child.tries + 1
            if self.random.random() < 0.3:
                self.killed_too(child)
            else:
                self.operator(child.id, child)

    def killed_too(self, child):
        """The operator's command is killed as well."""
        process = crash.tollgate(self.binary, self.dir, "token", "revoke", child.id, "--json")
        time.sleep(self.random.uniform(0, 0.06))
        process.kill()
        out, _ = process.communicate()
        if out.endswith("}\n"):
            self.over(child, json.loads(out)["returned"] or 0, self.numbers)
        self.counts["commands killed"] += 1

    def operator(self, token, child=None):
        told = self.command("token", "revoke", token, "--json")
        if told:
            child = child or Child(token, f"token/{token}")
            child.tries = max(1, child.tries)
            self.over(child, told["returned"] or 0, self.numbers)
            self.counts["revoked by the operator"] += 1

    def in_flight(self):
        return [request for gateway in self.gateways for request in gateway.pending.values()]

    def lives(self, mark):
        return any(gateway.mark == mark for gateway in self.gateways)

    def go(self, kills, many):
        self.lost, self.gateways = set(), []
        gateways = []
        self.whole(gateways, many)
        while self.kills < kills and self.kill(gateways, self.random.choice(gateways)):
            self.whole(gateways, many)
        self.told()
        self.pump(gateways, lambda: all(gateway.answered for gateway in gateways))
        self.ending = True
        self.pump(gateways, lambda: not any(gateway.pending for gateway in gateways))
        for gateway in gateways:
            if status := gateway.finish():
                self.fault(f"a gateway ended with {status}")
        self.gateways = []
        self.check()
        self.end_all()
        while self.killed and not self.faults:
            time.sleep(0.2)
            self.orphans()
        with open(os.path.join(self.dir, "seen.json"), "w") as file:
            json.dump(self.said(), file)
        return self.summary(kills)

    def end_all(self):
        """The operator ends what is open, from the top; what lies below ends with it."""
        count = Count(self.dir, self.limit)
        by_account = {row["account"]: token for token, row in count.delegations.items()}
        known = {child.id: child for child in self.children}
        for id, account in count.accounts.items():
            if account.open and id in by_account and account.parent not in by_account:
                child = known.get(by_account[id])
                if child:
                    child.tries += 1
                self.operator(by_account[id], child)
        self.faults += [f"at the end: {fault}" for fault in check(self.dir, self.said())]

    def summary(self, kills):
        if self.kills < kills and not self.faults:
            self.fault("it ended early")
        count = Count(self.dir, self.limit)
        expired = sum(record.get("note") == "it expired" for record in count.closes.values())
        return {
            "mode": self.mode, "kills": self.kills, "with_calls_in_flight": self.mid_call, "limit": self.limit,
            "delegated": len(self.made), **dict(sorted(self.counts.items())), "expired": expired,
            "closed": len(count.closes), "delegations": len(count.delegations), "holds": len(count.held),
            "open": len(count.held) - len(count.ends), "faults": self.faults,
        }


def settle(options):
    """Ends what was left open, and checks it all again."""
    dir, binary = os.path.abspath(options.dir), os.path.abspath(options.binary)
    with open(os.path.join(dir, "seen.json")) as file:
        said = json.load(file)
    before, faults = Count(dir, said["limit"]), []
    for command in (["budget", "show", "--json"], ["budget", "prove", "--json"], ["audit", "verify", "--json"]):
        process = crash.tollgate(binary, dir, *command)
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode != 0:
            faults.append(f"{' '.join(command)}: {process.returncode} {out} {err}")
    faults += check(dir, said, settled=True)
    count = Count(dir, said["limit"])
    spent = sum(end["cost"] for end in count.ends.values())
    acknowledged = sum(PRICES[tool] for tool, kind, _ in said["calls"].values() if kind == "paid")
    swept = len(before.held) - len(before.ends)
    lost = spent - acknowledged
    return {"swept": swept, "spent": spent, "acknowledged": acknowledged, "lost": lost, "faults": faults}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("what", choices=["run", "settle"])
    options.add_argument("dir")
    options.add_argument("--binary", required=True)
    options.add_argument("--mode", choices=["none", "header"], default="none")
    options.add_argument("--kills", type=int, default=30)
    options.add_argument("--steps", type=int, default=0)
    options.add_argument("--gateways", type=int, default=1)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = options.parse_args()
    begun = time.monotonic()
    if options.what == "run":
        print(f"SEED={options.seed}", file=sys.stderr)
        summary = {"seed": options.seed, **Run(options).go(options.kills, options.gateways)}
    else:
        summary = settle(options)
    print(json.dumps({**summary, "seconds": round(time.monotonic() - begun, 1)}))
    sys.exit(bool(summary["faults"]))


if __name__ == "__main__":
    main()
