"""A session through the Python SDK, which knows both eras."""

import argparse
import json
import os
import sys

import anyio
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}


def main() -> None:
    options = command_line()
    print(json.dumps(anyio.run(session, options)))


async def session(options: argparse.Namespace) -> dict:
    command, *args = options.server
    # The SDK hands a server only a few variables unless told otherwise.
    server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    async with Client(server, mode=MODES[options.era]) as client:
        tools = await all_tools(client)
        results = [await call_tool(client, call) for call in options.calls]
        return {
            "protocolVersion": client.protocol_version,
            "serverInfo": plain(client.server_info) if client.server_info else None,
            "tools": tools,
            "results": results,
        }


async def all_tools(client: Client) -> list[dict]:
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += [plain(tool) for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            return tools


async def call_tool(client: Client, call: dict) -> dict:
    try:
        return plain(await client.call_tool(call["name"], call.get("arguments"), meta=call.get("_meta")))
    except MCPError as error:
        # These two are the SDK's own: no answer came.
        if (error.code, error.message) == (CONNECTION_CLOSED, "Connection closed") or error.code == REQUEST_TIMEOUT:
            raise
        return {"rpcError": plain(error.error)}


def plain(model) -> dict:
    """A model as JSON, with the fields that came over the wire and no others."""
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)


def command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage="%(prog)s [--era ERA] [--calls JSON] -- COMMAND [ARG...]")
    parser.add_argument("--era", choices=MODES, default="legacy")
    parser.add_argument("--calls", type=json.loads, default=[])
    if "--" not in sys.argv[1:-1]:
        parser.error("no server command after `--`")
    split = sys.argv.index("--")
    options = parser.parse_args(sys.argv[1:split])
    options.server = sys.argv[split + 1 :]
    return options


if __name__ == "__main__":
    main()
