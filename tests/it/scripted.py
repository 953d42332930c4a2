#!/usr/bin/env python3
"""A small MCP server for the faults that real servers do not make.

usage: scripted.py [--tools JSON] [--FAULT [VALUE]] ...

Every tool echoes its arguments, but for the names that ACTIONS gives a meaning. Speaks both eras:
`server/discover` with 2026-07-28 and the handshake, unless --era names one of them.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time

options = argparse.ArgumentParser()
options.add_argument("--tools", default='["echo"]', help="names or whole definitions, as JSON")
options.add_argument("--era", default="both", choices=["both", "legacy", "modern"])
options.add_argument("--silent", action="store_true", help="never answer anything")
options.add_argument("--silent-file", help="stay silent while this file exists")
options.add_argument("--held-file", help="read nothing before this file has gone")
options.add_argument("--farewell", help="write this file some time after the end of input")
options.add_argument("--die", action="store_true", help="end before the handshake")
options.add_argument("--banner", type=int, default=0, help="print that many lines of junk first")
options.add_argument("--flood-stderr", type=int, default=0, help="that many lines on stderr")
options.add_argument("--many", type=int, default=0, help="offer that many tools on one page")
options.add_argument("--wide", type=int, help="one tool with that many required parameters")
options.add_argument("--endless", choices=["same", "new"], help="pages without end")
options.add_argument("--pages", type=int, default=1, help="spread the tools over that many pages")
options.add_argument("--stubborn", action="store_true", help="ignore end of input and SIGTERM")
options.add_argument("--setsid", help="start a descendant behind setsid; write its pid here")
options.add_argument("--no-list", action="store_true", help="have no tools/list at all")
options.add_argument("--starts", help="append a line to this file at each start")
options = options.parse_args()

heard = []
lock = threading.Lock()


def write(text):
    with lock:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
        sys.stdout.buffer.flush()


def send(message):
    write(json.dumps({"jsonrpc": "2.0", **message}))


def answer(request, result):
    if "resultType" not in result and modern(request):
        result = {**result, "resultType": "complete"}
    send({"id": request["id"], "result": result})


def modern(request):
    meta = request.get("params", {}).get("_meta", {})
    return "io.modelcontextprotocol/protocolVersion" in meta


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def definitions():
    if options.wide:
        names = [f"p{i}" for i in range(options.wide)]
        wide = {"type": "object", "required": names, "properties": {n: {"type": "string"} for n in names}}
        return [{"name": "wide", "inputSchema": wide}]
    if options.many:
        return [{"name": f"tool_{i}", "inputSchema": {"type": "object"}} for i in range(options.many)]
    tools = json.loads(options.tools)
    plain = {"description": "Scripted.", "inputSchema": {"type": "object"}}
    return [t if isinstance(t, dict) else {"name": t, **plain} for t in tools]


def list_tools(request):
    cursor = (request.get("params") or {}).get("cursor")
    page = int(cursor or 0)
    if options.endless:
        nxt = "1" if options.endless == "same" else str(page + 1)
        tool = {"name": f"page_{page}", "inputSchema": {"type": "object"}}
        return answer(request, {"tools": [tool], "nextCursor": nxt})
    tools = definitions()
    size = -(-len(tools) // options.pages)
    result = {"tools": tools[page * size : (page + 1) * size]}
    if page + 1 < options.pages:
        result["nextCursor"] = str(page + 1)
    answer(request, result)


def later(seconds, action):
    threading.Timer(seconds, action).start()


def slow(request, args):
    later(args["ms"] / 1000, lambda: answer(request, text("slow")))


def flood(request, args):
    for i in range(args["count"]):
        note = {"level": "info", "data": "x" * 100}
        send({"method": "notifications/message", "params": note})
    answer(request, text("flooded"))


def setsid(path):
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(path, "a") as file:
        file.write(f"{child.pid}\n")


def spawn(request, args):
    setsid(args["path"])
    answer(request, text("spawned"))


def orphan(request, args):
    """Starts a process whose parent has gone."""
    script = "sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >> " + args["path"]
    subprocess.run(["sh", "-c", script])
    answer(request, text("abandoned"))


def interrogate(request, args):
    """Asks without end and never reads an answer."""
    for i in range(args["count"]):
        send({"id": f"q{i}", "method": "ping"})
    answer(request, text("asked"))


def append_and_die(request, args):
    with open(args["path"], "a") as file:
        file.write("ran\n")
    os._exit(3)


ACTIONS = {
    "interrogate": interrogate,
    "orphan": orphan,
    "append_and_die": append_and_die,
    # Answers with exactly this text as the result.
    "raw": lambda r, a: write('{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(r["id"]), a["json"])),
    # The same, with the id after the result, as some servers write it.
    "raw_last": lambda r, a: write('{"result":%s,"jsonrpc":"2.0","id":%s}' % (a["json"], json.dumps(r["id"]))),
    "rpc_error": lambda r, a: send({"id": r["id"], "error": a["error"]}),
    "hang": lambda r, a: None,
    "slow": slow,
    "die": lambda r, a: os._exit(3),
    "junk": lambda r, a: (write("not json at all"), write('{"half": '), answer(r, text("junk"))),
    "foreign_id": lambda r, a: (send({"id": 987654, "result": {}}), answer(r, text("mine"))),
    "flood": flood,
    "big": lambda r, a: answer(r, text("x" * a["bytes"])),
    "pid": lambda r, a: answer(r, text(str(os.getpid()))),
    "env": lambda r, a: answer(r, text(json.dumps(dict(os.environ)))),
    "heard": lambda r, a: answer(r, text(json.dumps(heard))),
    "spawn": spawn,
    "stop_reading": lambda r, a: time.sleep(1000),
}


def handle(message):
    method = message.get("method")
    if "id" not in message:
        heard.append(message)
    elif method == "initialize" and options.era != "modern":
        version = message["params"]["protocolVersion"]
        info = {"name": "scripted", "version": "1"}
        answer(message, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "server/discover" and options.era != "legacy":
        answer(message, {
            "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "ttlMs": 0, "cacheScope": "private",
        })
    elif method == "tools/list" and not options.no_list:
        list_tools(message)
    elif method == "tools/call":
        heard.append(message)
        name, args = message["params"]["name"], message["params"].get("arguments", {})
        plain = lambda r, a: answer(r, text(json.dumps(a)))
        ACTIONS.get(name, plain)(message, args)
    elif method == "ping":
        answer(message, {})
    else:
        error = {"code": -32601, "message": "method not found"}
        send({"id": message["id"], "error": error})


if options.starts:
    with open(options.starts, "a") as file:
        file.write(f"{os.getpid()}\n")
if options.die:
    sys.exit("scripted to die")
if options.stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if options.setsid:
    setsid(options.setsid)
for i in range(options.banner):
    write(f"banner {i}: listening on stdio")
for i in range(options.flood_stderr):
    print(f"stderr {i}", file=sys.stderr)
while options.held_file and os.path.exists(options.held_file):
    time.sleep(0.01)
for line in sys.stdin:
    silent = options.silent or (options.silent_file and os.path.exists(options.silent_file))
    if not silent:
        handle(json.loads(line))
if options.farewell:
    time.sleep(0.3)
    with open(options.farewell, "w") as file:
        file.write("ended in good order")
while options.stubborn:
    time.sleep(1)
