// Servers of others behind the program. Clients sign in at Keycloak and call them; and the conformance suite has the verdicts through the
// gateway that it has of the server itself, scenario by scenario, but for the differences that are written down here with their reason.
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { conformanceBinary, publicUrl, python2, ring, scratch, upstreamPort } from '../settings.mjs';
import { Child, mustBeFree } from '../drivers/child.mjs';
import { Injector } from '../drivers/injector.mjs';
import { Inspector } from '../drivers/inspector.mjs';
import { accessToken } from '../drivers/native_client.mjs';
import { runProgram } from '../drivers/program_client.mjs';
import { Sekisho } from '../drivers/sekisho.mjs';
import { START_MS_MAX, startUpstream, upstreams } from '../drivers/upstream.mjs';
import { runSuite } from './conformance_server.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const run = promisify(execFile);

/** What server-everything is asked, since it tells no fortunes. */
const ECHO = { button: /^echo/i, texts: { message: '関所' }, answer: /Echo: 関所/ };

const guarding = async (world, name) => {
  const sekisho = world.until(await Sekisho.startWithKeycloak(world.name, world.keycloak, {}, upstreams[name].settings));
  await startUpstream(world, name, sekisho.folder);
  return sekisho;
};

const isEverything = (name) => name.startsWith('everything');
const whatToCall = (name) => (isEverything(name) ? ['--tool', 'echo', '--arguments', JSON.stringify(ECHO.texts)] : []);
const mustBeRight = (name, answer) => (isEverything(name) ? mustBe('the answer', answer, 'Echo: 関所') : mustBeAFortune(answer));

const throughInspector = (name) => async (world) => {
  const sekisho = await guarding(world, name);
  const inspector = world.until(await Inspector.start('http', `${publicUrl}/mcp`, sekisho.folder, 'legacy'));
  const person = await world.person();
  await inspector.connect(person);
  await person.approve();
  await person.logIn(sekisho.person);
  if (isEverything(name)) must(ECHO.answer.test(await inspector.runTool(person, ECHO)), 'another answer');
  else mustBeAFortune(await inspector.runFortune(person));
};

const throughProgram = (name, command, args) => async (world) => {
  const sekisho = await guarding(world, name);
  const how = ['--transport', 'http', '--mode', 'auto', '--url', `${publicUrl}/mcp`, ...whatToCall(name)];
  const { answer, version } = await runProgram(world, command, [...args, ...how], await world.person(), sekisho);
  mustBeRight(name, answer);
  return version;
};

const clients = {
  inspector: throughInspector,
  'python-2': (name) => throughProgram(name, python2, [join(ring, 'clients', 'python_2.py')]),
  typescript: (name) => throughProgram(name, process.execPath, [join(ring, 'clients', 'typescript.mjs'), '--sdk', '@modelcontextprotocol/client']),
};

/** A command, which has no endpoints of its own, and a server at a URL as one; of which each client calls another tool. */
const MERGED = `
[[server]]
name     = "everything"
path     = ""
upstream = ${upstreams['everything-stdio'].settings}

[[server]]
name     = "fastmcp"
upstream = ${upstreams['fastmcp-http'].settings}

[[server]]
name     = "all"
path     = "/"
upstream = { servers = ["everything", "fastmcp"] }
`;

const merged = async (world) => {
  const sekisho = await world.sekisho(MERGED);
  await startUpstream(world, 'fastmcp-http', sekisho.folder);
  const how = ['--transport', 'http', '--mode', 'auto', '--url', `${publicUrl}/mcp`];
  const rows = [
    [process.execPath, [join(ring, 'clients', 'typescript.mjs'), '--sdk', '@modelcontextprotocol/client'], 'everything_echo', ECHO.texts],
    [python2, [join(ring, 'clients', 'python_2.py')], 'fastmcp_fortune', {}],
  ];
  const versions = [];
  for (const [command, args, tool, given] of rows) {
    const call = ['--tool', tool, '--arguments', JSON.stringify(given)];
    const { answer, version } = await runProgram(world, command, [...args, ...how, ...call], await world.person(), sekisho);
    mustBeRight(tool, answer);
    versions.push(version);
  }
  return versions.join(', ');
};

const SETTINGS = (injector, upstream) => `
allowed_hosts = ["${injector.host}"]

[limits]
sessions_per_person_max = 1000

[[server]]
name     = "conformance"
path     = "/"
upstream = ${upstream}
`;

/** Scenario → whether something was checked in it and nothing failed; else what did. */
const verdicts = (scenarios) =>
  new Map(
    [...scenarios].map(([scenario, checks]) => {
      const failed = checks.filter(({ status }) => status === 'FAILURE').map(({ id }) => id);
      const isChecked = checks.some(({ status }) => status === 'SUCCESS');
      return [scenario, failed.length ? `failed: ${[...new Set(failed)].sort().join(', ')}` : isChecked ? 'passed' : 'nothing checked'];
    }),
  );
const passed = (verdict) => verdict === 'passed';

/**
 * The server's own endpoint beside the gateway before it: what passes there must pass here. `differences`: scenario → reason. That more
 * passes here is the gateway's own part: other revisions, headers, hosts, sessions.
 */
const alike = ({ version, start, upstream, least, differences = {} }) => async (world) => {
  const own = join(scratch, 'runs', `${world.name}-own`);
  rmSync(own, { recursive: true, force: true });
  mkdirSync(own, { recursive: true });
  const args = ['--requirements', version];
  const url = await start(world, own);
  const alone = verdicts((await runSuite(world, { url, folder: own, args })).scenarios);

  const injector = world.until(await Injector.start());
  const sekisho = await world.sekisho(SETTINGS(injector, await upstream(own)));
  injector.token = await accessToken(world, sekisho.person, 'conformance');
  const through = verdicts((await runSuite(world, { url: `http://${injector.host}/mcp`, folder: sekisho.folder, args })).scenarios);

  must([...alone.values()].filter(passed).length >= least, `only ${[...alone.values()].filter(passed).length} scenarios pass at the server itself`);
  const lost = [...alone].filter(([scenario, verdict]) => passed(verdict) && !passed(through.get(scenario)));
  const unknown = lost.filter(([scenario]) => !differences[scenario]).map(([scenario]) => `${scenario}: ${through.get(scenario)}`);
  must(unknown.length === 0, `${unknown.length} of ${alone.size} scenarios pass alone and not through us: ${unknown.join(' | ')}`);
  const stale = Object.keys(differences).filter((scenario) => !lost.some(([other]) => other === scenario));
  must(stale.length === 0, `${stale.join(', ')} no longer differ: take them out`);
  const count = (all) => [...all.values()].filter(passed).length;
  return `of ${alone.size} scenarios ${count(alone)} pass alone and ${count(through)} through us`;
};

/** Our own conformance server at its own port, with a token for those who have none. */
async function ours(world, folder) {
  const injector = world.until(await Injector.start(upstreamPort));
  writeFileSync(join(folder, 'upstream.toml'), `listen = "127.0.0.1:${upstreamPort}"\nallowed_hosts = ["${injector.host}"]\n\n[limits]\nsessions_per_person_max = 1000\n\n[[server]]\nname = "conformance"\npath = "/"\nupstream = { builtin = "conformance" }\n`);
  await mustBeFree(upstreamPort, 'the server behind', 'E2E_UPSTREAM_PORT');
  const server = world.until(new Child('the server behind', conformanceBinary, ['serve', '--config', 'upstream.toml'], { cwd: folder, env: clean(), log: join(folder, 'upstream.log') }));
  // Its port is open before it has its account.
  await server.printed(/^listening on /m, START_MS_MAX);
  injector.token = await personalToken(folder);
  return `http://${injector.host}/mcp`;
}

/** Without settings of ours, which may stand in the environment. */
const clean = () => ({ ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SEKISHO_'))), NO_COLOR: '1' });

async function personalToken(folder) {
  const { stdout } = await run(conformanceBinary, ['token', 'add', '--user', 'demo', '--config', 'upstream.toml', '--json'], { cwd: folder, env: clean() });
  return JSON.parse(stdout).token;
}

const oursAt = (path, transport) => async (folder) =>
  `{ url = "http://localhost:${upstreamPort}${path}", transport = "${transport}", per = "session", headers = { Authorization = "Bearer ${await personalToken(folder)}" } }`;
const oursOverStdio = async (folder) => `{ command = ["${conformanceBinary}", "stdio", "--config", "${join(folder, 'upstream.toml')}"], per = "session" }`;

async function everythingAlone(world, folder) {
  await startUpstream(world, 'everything-http', folder);
  return upstreams['everything-http'].url;
}
const everythingBy = (name) => async () => upstreams[name].settings;

/** How many scenarios pass at the servers themselves, at least: where nothing does, nothing is compared. */
const OURS = { '2025-11-25': 30, '2026-07-28': 37 };
const EVERYTHINGS = { '2025-11-25': 8, '2026-07-28': 1 };

const SERVERS = {
  'ours-stdio': { start: ours, least: OURS, upstream: oursOverStdio },
  'ours-sse': { start: ours, least: OURS, upstream: oursAt('/sse', 'http-sse') },
  'ours-http': { start: ours, least: OURS, upstream: oursAt('/mcp', 'streamable-http') },
  'everything-stdio': { start: everythingAlone, least: EVERYTHINGS, upstream: everythingBy('everything-stdio') },
  'everything-http': { start: everythingAlone, least: EVERYTHINGS, upstream: everythingBy('everything-http') },
};
const REVISIONS = ['2025-11-25', '2026-07-28'];

/** Why something passes at a server itself and not through us; docs/gateway.md says the same. */
const POLLING = { 'server-sse-polling': 'a server that sends its client away to poll sends us: the stream of our client stays open' };
const HANDSHAKE = {
  'input-required-result-basic-elicitation': 'a server with a handshake asks in its open call: an answer that is missing is asked for no second time',
  'input-required-result-multiple-input-requests': 'a server with a handshake asks one question after the other',
  'server-stateless': 'a server with a handshake refuses what its client cannot do in its own words, without a code of 2026-07-28',
};

/** Where the gateway and the server itself differ: `server revision` → scenario → reason. */
const DIFFERENCES = {
  'ours-stdio 2025-11-25': POLLING,
  'ours-sse 2025-11-25': POLLING,
  'ours-http 2025-11-25': POLLING,
  'ours-stdio 2026-07-28': HANDSHAKE,
  'ours-sse 2026-07-28': HANDSHAKE,
};

export const cases = [
  { name: 'gateway-merged', login: 'local', run: merged },
  ...Object.keys(upstreams).flatMap((name) => Object.entries(clients).map(([client, through]) => ({ name: `gateway-${name}-${client}`, login: '26.1.0', run: through(name) }))),
  ...Object.entries(SERVERS).flatMap(([name, server]) =>
    REVISIONS.map((version) => ({ name: `gateway-suite-${name}-${version}`, login: 'local', run: alike({ ...server, version, least: server.least[version], differences: DIFFERENCES[`${name} ${version}`] }) })),
  ),
];
