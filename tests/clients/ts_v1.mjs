// A session through the first TypeScript SDK, which knows only the legacy era.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { McpError } from "@modelcontextprotocol/sdk/types.js";
import { main } from "./session.mjs";

await main(["legacy"], async (server) => {
  const client = new Client({ name: "tollgate-test-ts-v1", version: "0.0.0" });
  const transport = new StdioClientTransport(server);
  let protocolVersion = null;
  // The client tells its transport the version and offers no getter of its own.
  transport.setProtocolVersion = (version) => (protocolVersion = version);
  let open = true;
  client.onclose = () => (open = false);
  await client.connect(transport);
  return { client, protocolVersion, rpcError: (error) => (open ? answered(error) : null) };
});

function answered(error) {
  if (!(error instanceof McpError)) return null;
  const { code, data } = error;
  return { code, message: error.message.replace(`MCP error ${code}: `, ""), data };
}
