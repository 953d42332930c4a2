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
options.add_argument("--era-file", help="read the era from this file at each start")
options.add_argument("--strict", action="store_true", help="refuse `initialize` after `server/discover`")
options.add_argument("--ignore-discover", action="store_true", help="answer nothing before `initialize`")
options.add_argument("--discover-late", help="at the first start only, which makes this file, answer `server/discover` after 11 s")
options.add_argument("--log", help="append the method of each request to this file")
options.add_argument("--work", type=float, help="read nothing for that many seconds, but be busy")
options.add_argument("--silent", action="store_true", help="never answer anything")
options.add_argument("--silent-file", help="stay silent while this file exists")
options.add_argument("--held-file", help="read nothing before this file has gone")
options.add_argument("--farewell", help="write this file some time after the end of input, or at SIGTERM")
options.add_argument("--die", action="store_true", help="end before the handshake")
options.add_argument("--doomed", help="a file with how often to end once the tools are listed")
options.add_argument("--tools-file", help="read the tools from this file at each start")
options.add_argument("--banner", type=int, default=0, help="print that many lines of junk first")
options.add_argument("--flood-stderr", type=int, default=0, help="that many lines on stderr")
options.add_argument("--many", type=int, default=0, help="offer that many tools on one page")
options.add_argument("--wide", type=int, help="one tool with that many required parameters")
options.add_argument("--endless", choices=["same", "new"], help="pages without end")
options.add_argument("--pages", type=int, default=1, help="spread the tools over that many pages")
options.add_argument("--stubborn", action="store_true", help="ignore end of input and SIGTERM")
options.add_argument("--setsid", help="start a descendant behind setsid; write its pid here")
options.add_argument("--no-list", action="store_true", help="have no tools/list at all")
options.add_argument("--list-once", action="store_true", help="answer only the first tools/list")
options.add_argument("--starts", help="append a line to this file at each start")
options.add_argument("--drowsy", type=float, help="read nothing for that many seconds")
options.add_argument("--calls", help="append the name of each tool that is called to this file")
options.add_argument("--instructions", help="say this in the handshake")
options.add_argument("--title", help="be called so in the handshake")
options = options.parse_args()
if options.era_file:
    options.era = open(options.era_file).read().strip()

heard = []
# What to do with the answers to questions of ours, by id.
waiting = {}
initialized = []
cancelled_at = []
# The tools that `grow` has added, and the id of the subscription to changes.
grown = []
subscription = []
running = set()
lock = threading.Lock()


def say_farewell(*of_signal):
    time.sleep(0.1)
    with open(options.farewell, "w") as file:
        file.write("ended in good order")
    if of_signal:
        os._exit(0)


if options.farewell:
    signal.signal(signal.SIGTERM, say_farewell)


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
    tools = json.loads(open(options.tools_file).read() if options.tools_file else options.tools)
    plain = {"description": "Scripted.", "inputSchema": {"type": "object"}}
    return [t if isinstance(t, dict) else {"name": t, **plain} for t in tools + grown]


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
    if options.doomed:
        meet_doom()


def meet_doom():
    with open(options.doomed, "r+") as file:
        left = int(file.read())
        if left > 0:
            file.seek(0)
            file.write(f"{left - 1}  ")
            file.close()
            os._exit(3)


def later(seconds, action):
    threading.Timer(seconds, action).start()


def hang(request, args):
    if "path" in args:
        open(args["path"], "w").close()


def slow(request, args):
    later(args["ms"] / 1000, lambda: answer(request, text("slow")))


def busy(request, args):
    """Tells how many of its kind were running, itself among them."""
    running.add(request["id"])
    seen = len(running)
    def done():
        running.discard(request["id"])
        answer(request, text(str(seen)))
    later(args["ms"] / 1000, done)


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
    """Asks without end and never reads an answer; under one id if told so."""
    for i in range(args["count"]):
        key = args.get("id", f"q{i}")
        send({"id": key, "method": "ping"})
        if args.get("withdraw"):
            send({"method": "notifications/cancelled", "params": {"requestId": key}})
    answer(request, text("asked"))


def append_and_die(request, args):
    with open(args["path"], "a") as file:
        file.write("ran\n")
    os._exit(3)


def progress(request, args):
    """Steps as fast as they go, or one every given number of milliseconds."""
    token = request["params"]["_meta"]["progressToken"]
    def steps():
        for i in range(1, args["count"] + 1):
            time.sleep(args.get("every_ms", 0) / 1000)
            params = {"progressToken": token, "progress": i / 2, "total": 1e3, "odd": {"step": i}}
            send({"method": "notifications/progress", "params": params})
        answer(request, text("done"))
    threading.Thread(target=steps, daemon=True).start()


def ask(request, args):
    """Asks the user, and answers with what the client said to it."""
    params = request["params"]
    if not modern(request):
        return question("elicitation/create", args, lambda reply: answer(request, text(json.dumps(reply))))
    if "inputResponses" in params:
        said = {"answers": params["inputResponses"], "state": params.get("requestState")}
        return answer(request, text(json.dumps(said)))
    questions = {"q": {"method": args.pop("method", "elicitation/create"), "params": args}}
    answer(request, {"resultType": "input_required", "inputRequests": questions, "requestState": "s-1"})


def question(method, params, then):
    key = f"q{len(waiting)}"
    waiting[key] = then
    send({"id": key, "method": method, "params": params})


def ask_twice(request, args):
    """Asks two questions under one id, and answers with the first reply that comes."""
    waiting["same"] = lambda reply: answer(request, text(json.dumps(reply)))
    for i in range(2):
        params = {"message": f"question {i}", "requestedSchema": {"type": "object"}}
        send({"id": "same", "method": "elicitation/create", "params": params})


def notes(request, args):
    """Sends this notification that many times, and then says so."""
    line = json.dumps({"jsonrpc": "2.0", **args["note"]}).replace('"$token"', json.dumps(token_of(request)))
    for i in range(args["count"] // 100):
        write("\n".join([line] * 100))
    answer(request, text("noted"))


def say(request, args):
    """Writes a message of this text, made here, and then says so."""
    own = lambda text: text.replace("$token", json.dumps(token_of(request))).replace("$id", json.dumps(request["id"]))
    write(own(args["head"]) + args["unit"] * args["count"] + own(args["tail"]))
    answer(request, text("said"))


def token_of(request):
    return request["params"].get("_meta", {}).get("progressToken")


def ask_everything(request, args):
    said = {}
    methods = ["sampling/createMessage", "roots/list", "elicitation/create", "no/such"]
    def then(method, reply):
        said[method] = reply
        if len(said) == len(methods):
            answer(request, text(json.dumps(said)))
    for method in methods:
        params = {"temperature": 0.5, "message": "?", "requestedSchema": {"type": "object"}}
        question(method, params, lambda reply, method=method: then(method, reply))


def withdraw(request, args):
    """Asks that often and takes each question back at once."""
    for i in range(args["count"]):
        send({"id": f"w{i}", "method": "elicitation/create", "params": {"message": "?"}})
        send({"method": "notifications/cancelled", "params": {"requestId": f"w{i}"}})
    answer(request, text("withdrawn"))


def grow(request, args):
    """Offers one tool more, and says so that many times."""
    grown.append(args["name"])
    note = {"method": "notifications/tools/list_changed"}
    if subscription:
        meta = {"io.modelcontextprotocol/subscriptionId": subscription[0]}
        note["params"] = {"_meta": meta}
    for i in range(args.get("times", 1)):
        send(note)
    answer(request, text("grown"))


def capabilities(request, args):
    own = request["params"].get("_meta", {}).get("io.modelcontextprotocol/clientCapabilities")
    answer(request, text(json.dumps(own if modern(request) else initialized[0]["capabilities"])))


ACTIONS = {
    "progress": progress,
    "ask": ask,
    "ask_everything": ask_everything,
    "ask_twice": ask_twice,
    "notes": notes,
    "say": say,
    "withdraw": withdraw,
    "grow": grow,
    "capabilities": capabilities,
    "cancelled_at": lambda r, a: answer(r, text(json.dumps(cancelled_at))),
    "interrogate": interrogate,
    "orphan": orphan,
    "append_and_die": append_and_die,
    # Answers with exactly this text as the result.
    "raw": lambda r, a: write('{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(r["id"]), a["json"])),
    # The same, with the id after the result, as some servers write it.
    "raw_last": lambda r, a: write('{"result":%s,"jsonrpc":"2.0","id":%s}' % (a["json"], json.dumps(r["id"]))),
    # Answers with a result of this text, made here.
    "repeat": lambda r, a: write('{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(r["id"]), a["head"] + a["unit"] * a["count"] + a["tail"])),
    "count": lambda r, a: answer(r, text(str(len(a["values"])))),
    "rpc_error": lambda r, a: send({"id": r["id"], "error": a["error"]}),
    "hang": hang,
    "slow": slow,
    "busy": busy,
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


discovered = []
listed = []


def introduced(members, *optional):
    """`members`, with those that the options give."""
    given = {name: getattr(options, name) for name in optional}
    return {**members, **{name: value for name, value in given.items() if value}}


def discover(message):
    info = introduced({"name": "scripted", "version": "1"}, "title")
    answer(message, introduced({
        "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": True}},
        "ttlMs": 0, "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": info},
    }, "instructions"))


def handle(message):
    method = message.get("method")
    if options.log and "id" in message:
        with open(options.log, "a") as file:
            file.write(f"{method}\n")
    if options.ignore_discover and method != "initialize" and not initialized:
        return
    if method == "initialize" and options.discover_late and discovered:
        return
    if method == "initialize" and options.strict and discovered:
        error = {"code": -32600, "message": "connection is serving the 2026-07-28 protocol"}
        return send({"id": message["id"], "error": error})
    if method is None:
        waiting.pop(message["id"], lambda reply: None)(message)
    elif "id" not in message:
        heard.append(message)
        if method == "notifications/cancelled":
            cancelled_at.append(time.time())
    elif method == "initialize" and options.era != "modern":
        initialized.append(message["params"])
        version = message["params"]["protocolVersion"]
        info = introduced({"name": "scripted", "version": "1"}, "title")
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        answer(message, introduced(result, "instructions"))
    elif method == "server/discover" and options.era != "legacy":
        discovered.append(message)
        if options.discover_late and not os.path.exists(options.discover_late):
            open(options.discover_late, "w").close()
            later(11, lambda: discover(message))
        else:
            discover(message)
    elif method == "tools/list" and not options.no_list:
        if not options.list_once or not listed:
            list_tools(message)
        listed.append(message)
    elif method == "tools/call":
        heard.append(message)
        name, args = message["params"]["name"], message["params"].get("arguments", {})
        if options.calls:
            with open(options.calls, "a") as file:
                file.write(name + "\n")
        plain = lambda r, a: answer(r, text(json.dumps(a)))
        ACTIONS.get(name, plain)(message, args)
    elif method == "subscriptions/listen":
        subscription[:] = [message["id"]]
        meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
        params = {"notifications": message["params"]["notifications"], "_meta": meta}
        send({"method": "notifications/subscriptions/acknowledged", "params": params})
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
if options.drowsy:
    time.sleep(options.drowsy)
busy_until = time.monotonic() + (options.work or 0)
while time.monotonic() < busy_until:
    sum(range(100_000))
    time.sleep(0.02)
for line in sys.stdin:
    silent = options.silent or (options.silent_file and os.path.exists(options.silent_file))
    if not silent:
        handle(json.loads(line))
if options.farewell:
    say_farewell()
while options.stubborn:
    time.sleep(1)
