#!/usr/bin/env python3
"""The client that the conformance suite tests: one whose server stands behind Tollgate.

usage: conformance_client.py URL

The suite serves a scenario at URL and watches what arrives there. This starts the gateway named by
TOLLGATE over that server, in the era of MCP_CONFORMANCE_PROTOCOL_VERSION, and does what an agent
would: looks at the tools, calls them (or makes the calls that the scenario asks for), and answers
every question with the defaults of its form.
"""
import json
import os
import subprocess
import sys
import tempfile

VERSION = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
STATELESS = VERSION >= "2026-07-28"
CAPABILITIES = {"elicitation": {}}
INFO = {"name": "tollgate-conformance", "version": "0.0.0"}
# A tool that goes on asking is given up.
MOST_ROUNDS = 10


class Gateway:
    """A gateway with one server `conf`, spoken to over its standard streams."""

    def __init__(self, url, directory):
        entry = {"url": url, "allowPrivate": True, "elicitation": "allow", "timeout": "15s"}
        with open(os.path.join(directory, ".mcp.json"), "w") as file:
            json.dump({"mcpServers": {"conf": entry}}, file)
        command = [os.environ["TOLLGATE"], "serve", "--config-dir", directory]
        env = {**os.environ, "HOME": directory}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, cwd=directory)
        self.last_id = 0
        if not STATELESS:
            hello = {"protocolVersion": VERSION, "capabilities": CAPABILITIES, "clientInfo": INFO}
            self.request("initialize", hello)
            self.send({"method": "notifications/initialized"})

    def send(self, message):
        line = json.dumps({"jsonrpc": "2.0", **message}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def request(self, method, params):
        """The result, or the whole of an error; answers what the gateway asks meanwhile."""
        self.last_id += 1
        if STATELESS:
            params = {**params, "_meta": {
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
                "io.modelcontextprotocol/clientInfo": INFO,
            }}
        self.send({"id": self.last_id, "method": method, "params": params})
        for line in self.process.stdout:
            message = json.loads(line)
            if "method" in message:
                if "id" in message:
                    self.send({"id": message["id"], "result": answer(message)})
            elif message.get("id") == self.last_id:
                return message.get("result") or message
        raise RuntimeError(f"{method}: the gateway ended")

    def call(self, tool, arguments):
        """A tool's result, after as many rounds of questions as it takes."""
        params = {"name": tool, "arguments": arguments}
        for _ in range(MOST_ROUNDS):
            result = self.request("tools/call", params)
            if result.get("resultType") != "input_required":
                return result
            asked = result.get("inputRequests", {})
            params = {"name": tool, "arguments": arguments}
            params["inputResponses"] = {key: answer(question) for key, question in asked.items()}
            if "requestState" in result:
                params["requestState"] = result["requestState"]
        raise RuntimeError(f"{tool} asks without end")

    def execute(self, tool, args):
        """Calls a tool of the server; that it fails is for the scenario to judge."""
        result = self.call("execute_tool", {"server": "conf", "tool": tool, "args": args})
        if refused(result) == "INVALID_ARGUMENTS" and None in args.values():
            # What an agent does that reads the signature: what it has no value for, it leaves out.
            present = {name: value for name, value in args.items() if value is not None}
            result = self.call("execute_tool", {"server": "conf", "tool": tool, "args": present})
        print(tool, "->", json.dumps(result))

    def tools(self):
        """Every tool, with its whole schema."""
        asked = {"server": "conf", "detail": "full", "max_schema_tokens": 100_000}
        result = self.call("get_server_tools", asked)
        listed = json.loads(result["content"][0]["text"])
        print("tools:", json.dumps(listed))
        return listed["tools"]


def refused(result):
    """The code of a refusal of the gateway's own."""
    try:
        return json.loads(result["content"][0]["text"])["error"]["code"] if result.get("isError") else None
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def answer(question):
    """A user who accepts every form as it is filled in."""
    if question["method"] != "elicitation/create":
        raise RuntimeError(f"not declared, and asked all the same: {question}")
    properties = question["params"]["requestedSchema"]["properties"]
    content = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    return {"action": "accept", "content": content}


def example(schema):
    """A value that a plain schema accepts."""
    plain = {"string": "x", "integer": 1, "number": 2.5, "boolean": True, "array": [], "object": {}}
    return plain.get(schema.get("type"))


def arguments(tool, tools):
    """All that the tool requires. A schema is asked for by what a tool is named, not by its type."""
    if tool["name"] == "json_schema_echo":
        shown = next(t for t in tools if t["name"] == "json_schema_2020_12_tool")
        return {"schema": shown["inputSchema"]}
    schema = tool["inputSchema"]
    properties = schema.get("properties", {})
    return {name: example(properties.get(name, {})) for name in schema.get("required", [])}


def main(url):
    with tempfile.TemporaryDirectory() as directory:
        gateway = Gateway(url, directory)
        tools = gateway.tools()
        context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
        calls = [(call["name"], call["arguments"]) for call in context.get("toolCalls", [])]
        for name, args in calls or [(tool["name"], arguments(tool, tools)) for tool in tools]:
            gateway.execute(name, args)
        gateway.process.stdin.close()
        gateway.process.wait()


main(sys.argv[1])
