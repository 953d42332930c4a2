// What the two TypeScript clients share: the command line, one session, and the report of it.

import { parseArgs } from "node:util";

/**
 * Runs one session and prints what it saw as a single JSON object.
 *
 * `connect(server, era)` starts `server` and resolves to
 * `{ client, protocolVersion, rpcError }`, where `rpcError(error)` gives the
 * JSON-RPC error that the server answered with, or null for any other fault.
 */
export async function main(eras, connect) {
  try {
    const { era, calls, server } = commandLine(eras);
    const report = await session(await connect(server, era), calls);
    process.stdout.write(JSON.stringify(report) + "\n", () => process.exit(0));
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

async function session({ client, protocolVersion, rpcError }, calls) {
  try {
    const tools = await allTools(client);
    const results = [];
    for (const call of calls) {
      results.push(await client.callTool(call).catch((error) => refusal(error, rpcError)));
    }
    return { protocolVersion, serverInfo: client.getServerVersion() ?? null, tools, results };
  } finally {
    await client.close();
  }
}

async function allTools(client) {
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools(cursor === undefined ? undefined : { cursor });
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return tools;
}

function refusal(error, rpcError) {
  const answered = rpcError(error);
  if (answered === null) throw error;
  return { rpcError: answered };
}

function commandLine(eras) {
  const usage = `usage: [--era ${eras.join("|")}] [--calls JSON] -- COMMAND [ARG...]`;
  const split = process.argv.indexOf("--");
  if (split < 0 || split + 1 === process.argv.length) throw new Error(usage);
  const { values } = parseArgs({
    args: process.argv.slice(2, split),
    options: {
      era: { type: "string", default: eras[0] },
      calls: { type: "string", default: "[]" },
    },
  });
  if (!eras.includes(values.era)) throw new Error(usage);
  const [command, ...args] = process.argv.slice(split + 1);
  // The SDKs hand a server only a few variables unless told otherwise.
  const server = { command, args, env: { ...process.env } };
  return { era: values.era, calls: JSON.parse(values.calls), server };
}
