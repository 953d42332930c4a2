#!/usr/bin/env python3
"""Gateways that are killed with -9 while calls are in flight, and what their store says after.

    crash.py run DIR --binary TOLLGATE --kills N [--gateways N] [--seed N]
    crash.py settle DIR --binary TOLLGATE [--by show|serve]

`run` fills DIR with settings, a store, and what the client saw; `settle` ends the holds that were
left open, which takes that their time is over. Both print a line of JSON; whatever does not hold is
in its `faults`, and then the exit status is 1.
"""
import argparse
import collections
import json
import os
import random
import selectors
import subprocess
import sys
import time

# Nothing is left beside the tests.
sys.dont_write_bytecode = True
from crash_ledger import PRICES, Ledger, check, reached, store  # noqa: E402

WEIGHTS = {"t1": 25, "t3": 20, "t7": 15, "slow": 20, "declined": 6, "free": 5, "d1": 5, "die": 1}
BUDGET_WEIGHT = 3
IN_FLIGHT = 16
LIMITS = [300, 5_000, 1_000_000, 1_000_000]
# Kills come this soon after load begins, in seconds.
SOON = 0.3
# Nothing that a killed gateway started lives longer.
ORPHAN_TIME = 5
PATIENCE = 60
SCRIPTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripted.py")


def environment(dir, **more):
    foreign = ("GATEWAY_", "XDG_", "RUST_LOG", "TOLLGATE_")
    own = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**own, "HOME": dir, "CRASH_ID": "none", **more}


def tollgate(binary, dir, *args):
    """A command over the settings, begun."""
    command = [binary, *args, "--config-dir", dir]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment(dir), text=True, cwd=dir, **pipes)


def write_settings(dir, limit):
    def server(*tools):
        own = [{"name": t, "description": t, "inputSchema": {"type": "object"}} for t in tools]
        # One that would live on after its gateway.
        args = ["-E", "-S", SCRIPTED, "--stubborn", "--calls", os.path.join(dir, "calls"), "--tools", json.dumps(own)]
        # Marks every process that a gateway starts, and tells whose it is.
        return {"command": os.path.realpath(sys.executable), "args": args, "env": {"CRASH_ID": "${CRASH_ID}"}}
    servers = {"s": server("t1", "t3", "t7", "slow", "rpc_error", "free"), "d": server("d1", "die")}
    costs = {**PRICES, "rpc_error": PRICES["declined"]}
    del costs["declined"]
    open_to_all = {"allow": {"servers": ["*"]}}
    agents = {"free": open_to_all, "capped": {**open_to_all, "budget": {"limit": limit // 3}}}
    settings = {"budget": {"limit": limit}, "tools": {"costs": costs}, "audit": {"arguments": "full"}}
    for name, content in [
        (".mcp.json", {"mcpServers": servers}),
        (".mcp-gateway-rules.json", {"agents": agents}),
        ("gateway.yaml", settings),
        ("seen.json", {"limit": limit, "seen": {}}),
    ]:
        with open(os.path.join(dir, name), "w") as file:
            json.dump(content, file)


class Gateway:
    """A gateway, and a client that keeps calls in flight."""

    count = 0

    def __init__(self, run):
        Gateway.count += 1
        self.run = run
        self.mark = f"{os.getpid()}-{Gateway.count}"
        self.log = open(os.path.join(run.dir, "log"), "ab")
        command = [run.binary, "serve", "--config-dir", run.dir]
        env = environment(run.dir, CRASH_ID=self.mark)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log}
        self.process = subprocess.Popen(command, env=env, cwd=run.dir, **pipes)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.started = time.monotonic()
        self.loaded = self.answered = None
        self.pending = {}
        self.refill = []
        self.next = 1
        self.rest = b""
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        self.send({"id": 0, "method": "initialize", "params": hello})

    def send(self, message):
        try:
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def call(self):
        id, self.next = self.next, self.next + 1
        n = self.run.number()
        tool = self.run.random.choices([*WEIGHTS, "budget"], [*WEIGHTS.values(), BUDGET_WEIGHT])[0]
        self.pending[id] = (n, tool)
        args = {"n": n}
        if tool == "slow":
            args["ms"] = self.run.random.randrange(20, 400)
        if tool == "declined":
            args["error"] = {"code": -32602, "message": "declined"}
        server = {"die": "d", "d1": "d", "budget": "gateway"}.get(tool, "s")
        asked = {
            "server": server, "tool": "rpc_error" if tool == "declined" else tool,
            "agent_id": self.run.random.choice(["free", "capped"]),
            "args": {} if tool == "budget" else args,
        }
        self.send({"id": id, "method": "tools/call", "params": {"name": "execute_tool", "arguments": asked}})

    def keep_busy(self, now):
        due = [at for at in self.refill if at <= now]
        self.refill = [at for at in self.refill if at > now]
        for _ in [] if self.run.ending else due:
            self.call()

    def read(self):
        """Takes what the gateway has written; False at the end of it."""
        while True:
            try:
                chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            for line in lines:
                self.hear(json.loads(line))

    def hear(self, message):
        now = time.monotonic()
        if message.get("id") == 0:
            self.send({"method": "notifications/initialized"})
            self.loaded = now
            self.refill = [now] * IN_FLIGHT
            return
        n, tool = self.pending.pop(message["id"])
        self.answered = self.answered or now
        refused = self.run.saw(n, tool, message)
        # Refusals come at once, and would come without end.
        self.refill.append(now + (0.05 if refused else 0))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.read()
        self.end()

    def finish(self):
        """Ends in good order."""
        self.process.stdin.close()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "a gateway that does not end"
        finally:
            self.read()
            self.end()

    def end(self):
        self.log.close()
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass


class Run:
    """One store, its gateways, and what their clients saw."""

    def __init__(self, options):
        self.dir, self.binary = os.path.abspath(options.dir), os.path.abspath(options.binary)
        self.random = random.Random(options.seed)
        self.numbers = 0
        self.limit = self.random.choice(LIMITS)
        # Each call's answer to the client, by its number.
        self.seen = {}
        self.faults = []
        self.kills = self.mid_call = 0
        self.killed = {}
        self.checks = []
        self.ending = False
        os.makedirs(self.dir, exist_ok=True)
        write_settings(self.dir, self.limit)

    def number(self):
        self.numbers += 1
        return self.numbers

    def fault(self, what):
        self.faults.append(f"after {self.kills} kills: {what}")

    def saw(self, n, tool, message):
        """Notes an answer; True if it is a refusal."""
        result, error = message.get("result"), message.get("error")
        if tool == "budget":
            told = json.loads(result["content"][0]["text"])
            parts = told["remaining"] + told["reserved"] + told["spent"]
            if told["budgetId"] == "root" and parts != told["limit"] or parts > told["limit"]:
                self.fault(f"a budget does not add up: {told}")
        elif error and error["code"] == -32602:
            self.seen[n] = (tool, "declined")
        elif error and error["code"] == -32000:
            self.seen[n] = (tool, "refused")
            return True
        elif result and not result.get("isError"):
            cost = result["_meta"]["tollgate/cost"]
            if cost != PRICES[tool]:
                self.fault(f"call {n} of {tool} cost {cost}")
            self.seen[n] = (tool, "paid")
        elif result and "may have run" in result["content"][0]["text"]:
            self.seen[n] = (tool, "lost")
        elif result and '"SERVER_UNAVAILABLE"' in result["content"][0]["text"]:
            self.seen[n] = (tool, "not sent")
            return True
        else:
            self.fault(f"call {n} of {tool} was answered with {json.dumps(message)}")
        return False

    def pump(self, gateways, until):
        """Keeps the calls in flight until a moment, or until it answers true."""
        selector = selectors.DefaultSelector()
        for gateway in gateways:
            selector.register(gateway.process.stdout, selectors.EVENT_READ, gateway)
        while not until():
            for key, _ in selector.select(0.005):
                if not key.data.read():
                    self.fault(f"a gateway ended by itself: {key.data.process.wait()}")
                    return False
            now = time.monotonic()
            for gateway in gateways:
                gateway.keep_busy(now)
        selector.close()
        return True

    def moment(self, victim):
        """When to kill: soon after the start, after load begins, or after the first answer."""
        wait = self.random.uniform(0, SOON)
        kind = self.random.random()
        if kind < 0.1:
            return lambda: time.monotonic() >= victim.started + wait / 6
        since = (lambda: victim.loaded) if kind < 0.5 else (lambda: victim.answered)
        deadline = victim.started + PATIENCE
        def now():
            if time.monotonic() > deadline:
                self.fault("a gateway answers nothing")
                return True
            return since() is not None and time.monotonic() >= since() + wait
        return now

    def kill(self, gateways, victim):
        if not self.pump(gateways, self.moment(victim)):
            return False
        self.mid_call += bool(victim.pending)
        victim.kill()
        self.kills += 1
        self.killed[victim.mark] = (victim.process.pid, time.monotonic())
        gateways.remove(victim)
        self.told()
        self.check()
        return not self.faults

    def whole(self, gateways, many):
        while len(gateways) < many:
            gateways.append(Gateway(self))
        if not self.checks:
            for command in (["budget", "prove", "--json"], ["audit", "verify", "--json"]):
                # Begun before anything was answered, it may be before anything was written.
                empty = not self.seen
                self.checks.append((command, tollgate(self.binary, self.dir, *command), empty))

    def told(self):
        """What the commands said that began after the last kill."""
        for command, process, may_be_empty in self.checks:
            out, err = process.communicate(timeout=PATIENCE)
            empty = may_be_empty and process.returncode == 5 and '"records":0' in out
            if process.returncode != 0 and not empty:
                self.fault(f"{' '.join(command)}: {process.returncode} {out} {err}")
        self.checks = []

    def check(self):
        self.faults += [f"after {self.kills} kills: {fault}" for fault in check(self.dir, self.limit, self.seen)]
        self.orphans()

    def orphans(self):
        late = {mark: pid for mark, (pid, at) in self.killed.items() if time.monotonic() - at > ORPHAN_TIME}
        if late:
            for pid, found in processes(late):
                self.fault(f"process {pid} outlives the gateway that started it: {found}")
            for mark in late:
                del self.killed[mark]

    def go(self, kills, many):
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
        self.check()
        while self.killed and not self.faults:
            time.sleep(0.2)
            self.orphans()
        with open(os.path.join(self.dir, "seen.json"), "w") as file:
            json.dump({"limit": self.limit, "seen": self.seen}, file)
        return self.summary(kills)

    def summary(self, kills):
        if self.kills < kills and not self.faults:
            self.fault("it ended early")
        ledger = Ledger(self.dir)
        counts = collections.Counter(kind for _, kind in self.seen.values())
        return {
            "kills": self.kills, "with_calls_in_flight": self.mid_call, "limit": self.limit,
            "answered": len(self.seen), **counts, "reached": sum(reached(self.dir).values()),
            "holds": len(ledger.held), "open": len(ledger.open()), "swept": ledger.swept(),
            "faults": self.faults,
        }


def processes(marks):
    """Processes that a gateway with one of these marks has started."""
    known = {f"CRASH_ID={mark}".encode() for mark in marks}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ, open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                env, line = environ.read().split(b"\0"), cmdline.read().split(b"\0")
        except OSError:
            continue
        keeper = b"--parent" in line and line[line.index(b"--parent") + 1]
        if known & set(env) or keeper in {str(parent).encode() for parent in marks.values()}:
            yield pid, b" ".join(line).decode(errors="replace")[:200]


def settle(options):
    """Ends what was left open, and checks it all again."""
    dir, binary = os.path.abspath(options.dir), os.path.abspath(options.binary)
    with open(os.path.join(dir, "seen.json")) as file:
        told = json.load(file)
    before = len(Ledger(dir).open())
    faults = []
    if options.by == "serve":
        # A gateway sweeps as it begins.
        gateway = subprocess.Popen([binary, "serve", "--config-dir", dir], env=environment(dir), cwd=dir,
                                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while Ledger(dir).open() and time.monotonic() < deadline:
            time.sleep(0.05)
        gateway.stdin.close()
        gateway.wait(PATIENCE)
    shown, err = tollgate(binary, dir, "budget", "show", "--json").communicate(timeout=PATIENCE)
    accounts = {account["account"]: account for account in json.loads(shown)}
    root = accounts["root"]
    if root["reserved"] or root["spent"] + root["remaining"] != root["limit"]:
        faults.append(f"root does not add up: {root}")
    for command in (["budget", "prove", "--json"], ["audit", "verify", "--json"]):
        process = tollgate(binary, dir, *command)
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode != 0:
            faults.append(f"{' '.join(command)}: {process.returncode} {out} {err}")
    faults += check(dir, told["limit"], told["seen"], settled=True)
    return {"by": options.by, "swept": before, "spent": root["spent"], "faults": faults}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("what", choices=["run", "settle"])
    options.add_argument("dir")
    options.add_argument("--binary", required=True)
    options.add_argument("--kills", type=int, default=30)
    options.add_argument("--gateways", type=int, default=1)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options.add_argument("--by", choices=["show", "serve"], default="show")
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
