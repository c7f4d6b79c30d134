// Servers of others that stand behind the program: started at a port of their own, ready when they accept a connection.
import { connect } from 'node:net';
import { join } from 'node:path';
import { everything, python, pythonFastmcp, ring, upstreamPort } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';

export const START_MS_MAX = 30_000;
const LOOK_EVERY_MS = 100;

const at = (path) => `http://127.0.0.1:${upstreamPort}${path}`;

/** Each: the words that start it, its address, and what the settings say of it. */
export const upstreams = {
  'everything-stdio': { settings: `{ command = ["${process.execPath}", "${everything}", "stdio"], per = "session" }` },
  'everything-http': { words: [process.execPath, everything, 'streamableHttp'], url: at('/mcp'), settings: `{ url = "${at('/mcp')}", per = "session" }` },
  'python-1-sse': { words: [python, join(ring, 'servers', 'python_sdk_1_sse.py'), upstreamPort], settings: `{ url = "${at('/sse')}", transport = "http-sse" }` },
  'fastmcp-http': { words: [pythonFastmcp, join(ring, 'servers', 'fastmcp_http.py'), upstreamPort], settings: `{ url = "${at('/mcp')}" }` },
};

/** Starts that server, unless it is a command that the program starts. */
export async function startUpstream(world, name, folder) {
  const { words } = upstreams[name];
  if (!words) return;
  await mustBeFree(upstreamPort, 'the server behind', 'E2E_UPSTREAM_PORT');
  const [command, ...args] = words.map(String);
  const env = { ...process.env, PORT: String(upstreamPort), NO_COLOR: '1' };
  const server = world.until(new Child(name, command, args, { cwd: folder, env, log: join(folder, 'upstream.log') }));
  await accepts(server);
}

/** Waits until somebody listens. */
export async function accepts(server) {
  const until = Date.now() + START_MS_MAX;
  while (!(await isOpen())) {
    if (server.ended || Date.now() > until) throw new Error(`${server.name} does not listen at ${upstreamPort} (log: ${server.log})`);
    await new Promise((settle) => setTimeout(settle, LOOK_EVERY_MS));
  }
}

const isOpen = () =>
  new Promise((settle) => {
    const socket = connect(upstreamPort, '127.0.0.1');
    const end = (answer) => () => {
      socket.destroy();
      settle(answer);
    };
    socket.on('connect', end(true));
    socket.on('error', end(false));
  });
