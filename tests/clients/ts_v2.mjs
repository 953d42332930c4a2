// A session through the second TypeScript SDK, which knows both eras.

import { Client, ProtocolError } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { main } from "./session.mjs";

const MODES = { legacy: "legacy", auto: "auto", modern: { pin: "2026-07-28" } };

await main(Object.keys(MODES), async (server, era) => {
  const client = new Client(
    { name: "tollgate-test-ts-v2", version: "0.0.0" },
    { versionNegotiation: { mode: MODES[era] } },
  );
  await client.connect(new StdioClientTransport(server));
  return { client, protocolVersion: client.getNegotiatedProtocolVersion() ?? null, rpcError: answered };
});

function answered(error) {
  if (!(error instanceof ProtocolError)) return null;
  const { code, message, data } = error;
  return { code, message, data };
}
