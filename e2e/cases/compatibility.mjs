// Which version each client really agrees on, over each transport, after a login through our consent page. From this README's table is
// made; the last case holds the two against each other. The version is what the server says in its log and, where it tells, the client.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { publicUrl, python, python2, ring, rmcpClient, root, scratch } from '../settings.mjs';
import { Child } from '../drivers/child.mjs';
import { Inspector } from '../drivers/inspector.mjs';
import { Inspector0 } from '../drivers/inspector_0.mjs';
import { runProgram } from '../drivers/program_client.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const LOG = 'log = "info,sekisho::mcp=debug"\n';
const REFUSAL_MS_MAX = 20_000;

const COLUMNS = { sse: 'HTTP+SSE', http: 'Streamable HTTP', choice: 'left to choose' };
const urls = { sse: `${publicUrl}/sse`, http: `${publicUrl}/mcp`, choice: `${publicUrl}/mcp` };

/** What a client spoke last, as the server logged it. */
const versionSpoken = (sekisho) => [...sekisho.child.output.matchAll(/ mcp\.version=(\S+)/g)].at(-1)?.[1];

const throughInspector2 = async (world, sekisho, column) => {
  const inspector = world.until(await Inspector.start(column === 'sse' ? 'sse' : 'http', urls[column], sekisho.folder, column === 'choice' ? 'auto' : 'legacy'));
  const person = await world.person();
  await inspector.connect(person);
  await person.approve();
  await person.logIn(sekisho.person);
  return { answer: await inspector.runFortune(person) };
};

const throughInspector0 = (version, way) => async (world, sekisho, column) => {
  const inspector = world.until(await Inspector0.start(version, sekisho.folder));
  const person = await world.person();
  await inspector.connect(person, { transport: column === 'sse' ? 'sse' : 'streamable-http', url: urls[column], way });
  await person.approve();
  await person.logIn(sekisho.person);
  return { answer: await inspector.runFortune(person) };
};

/** Over its proxy, a refused stream makes it look for OAuth at that proxy; a person lets it get the token first. */
const inspector022AskedForTokenFirst = async (world, sekisho, column) => {
  const inspector = world.until(await Inspector0.start('0.22', sekisho.folder));
  const person = await world.person();
  await inspector.choose(person, { transport: 'sse', url: urls[column], way: 'proxy' });
  await inspector.beginQuickLogin(person);
  await person.approve();
  await person.logIn(sekisho.person);
  await inspector.endQuickLogin(person);
  await inspector.pressConnect(person);
  return { answer: await inspector.runFortune(person) };
};

/** It asks without a token, and does not take the refusal for a reason to get one. */
const inspector0WithoutToken = (version) => async (world, sekisho, column) => {
  const inspector = world.until(await Inspector0.start(version, sekisho.folder));
  const person = await world.person();
  await inspector.connect(person, { transport: 'streamable-http', url: urls[column], way: 'proxy' });
  await inspector.child.printed(/code: 401/, REFUSAL_MS_MAX);
  must(!person.asked.some((url) => new URL(url).pathname === '/authorize'), 'it did go for a token: take the exception out');
  return { cannot: 'sends no token' };
};

const throughPython1 = async (world, sekisho, column) => {
  const { username, password } = sekisho.person;
  const client = new Child('the Python client', python, [join(ring, 'python_client.py'), '--url', urls[column], '--transport', column], {
    cwd: sekisho.folder,
    log: join(sekisho.folder, 'python.log'),
    env: { ...process.env, E2E_USERNAME: username, E2E_PASSWORD: password },
  });
  world.until(client);
  const [line] = await client.printed(/^\{"answer".*\}$/m, 90_000);
  return JSON.parse(line);
};

const throughProgram = (command, args) => async (world, sekisho, column) => {
  const how = ['--url', urls[column], '--mode', column === 'choice' ? 'auto' : 'legacy'];
  return runProgram(world, command, [...args(column), ...how], await world.person(), sekisho);
};

const transport = (column) => ['--transport', column === 'sse' ? 'sse' : 'http'];
const python2x = throughProgram(python2, (column) => [join(ring, 'clients', 'python_2.py'), ...transport(column)]);
const rmcp = throughProgram(rmcpClient, () => []);

const npmVersion = (folder) => JSON.parse(readFileSync(join(ring, 'node_modules', folder, 'package.json'), 'utf8')).version;
const pypiVersion = (list) => readFileSync(join(ring, list), 'utf8').match(/^mcp==(\S+)$/m)[1];
const typescript = (key, sdk, columns = ['sse', 'http']) => {
  const drive = throughProgram(process.execPath, (column) => [join(ring, 'clients', 'typescript.mjs'), '--sdk', sdk, ...transport(column)]);
  return { key, name: () => `TypeScript SDK ${npmVersion(sdk)}`, ...Object.fromEntries(columns.map((column) => [column, drive])) };
};
const cargoVersion = () => readFileSync(join(root, 'Cargo.lock'), 'utf8').match(/name = "rmcp"\nversion = "([^"]+)"/)[1];

/** A row each: what it is called, its version as installed, and how each column is tried; a text says why it is not. */
const CLIENTS = [
  { key: 'inspector-2', name: () => `MCP Inspector ${npmVersion('@modelcontextprotocol/inspector')}`, sse: throughInspector2, http: throughInspector2, choice: throughInspector2 },
  { key: 'inspector-0.22', name: () => `MCP Inspector ${npmVersion('inspector-0.22')}`, sse: inspector022AskedForTokenFirst, http: throughInspector0('0.22', 'proxy') },
  { key: 'inspector-0.22-direct', name: () => `MCP Inspector ${npmVersion('inspector-0.22')}, its page connecting directly`, sse: throughInspector0('0.22', 'direct'), http: throughInspector0('0.22', 'direct') },
  { key: 'inspector-0.11', name: () => `MCP Inspector ${npmVersion('inspector-0.11')}`, sse: throughInspector0('0.11', 'proxy'), http: inspector0WithoutToken('0.11') },
  { key: 'python-1', name: () => `Python SDK ${pypiVersion('requirements.txt')}`, sse: throughPython1, http: throughPython1 },
  { key: 'python-2', name: () => `Python SDK ${pypiVersion('requirements-2.txt')}`, sse: python2x, http: python2x, choice: python2x },
  typescript('typescript-1.12', 'sdk-1.12'),
  typescript('typescript-1.20', 'sdk-1.20'),
  typescript('typescript-1', '@modelcontextprotocol/sdk'),
  typescript('typescript-2', '@modelcontextprotocol/client', ['sse', 'http', 'choice']),
  { key: 'rmcp', name: () => `rmcp ${cargoVersion()}`, sse: 'has no such transport', http: rmcp, choice: rmcp },
];

const measured = {};

const measure = (client, column) => async (world) => {
  const sekisho = await world.sekisho(LOG);
  const { answer, version, cannot } = await client[column](world, sekisho, column);
  const spoken = versionSpoken(sekisho);
  if (cannot) {
    mustBe('the version agreed on', spoken, undefined);
  } else {
    mustBeAFortune(answer);
    must(spoken, 'the server logged no version');
    if (version) mustBe('the version by the word of the client', version, spoken);
  }
  measured[`${client.key} ${column}`] = cannot ?? spoken;
  return cannot ?? spoken;
};

const tried = CLIENTS.flatMap((client) => Object.keys(COLUMNS).filter((column) => typeof client[column] === 'function').map((column) => ({ client, column })));

function table() {
  const cell = (client, column) => measured[`${client.key} ${column}`] ?? client[column] ?? '';
  const row = (cells) => `| ${cells.join(' | ')} |`;
  return [
    row(['client', ...Object.values(COLUMNS)]),
    row(['---', ...Object.values(COLUMNS).map(() => '---')]).replaceAll(' ', ''),
    ...CLIENTS.map((client) => row([client.name(), ...Object.keys(COLUMNS).map((column) => cell(client, column))])),
  ].join('\n');
}

/** README says what was measured, and nothing else. */
async function holdAgainstReadme() {
  const missing = tried.map(({ client, column }) => `${client.key} ${column}`).filter((key) => !measured[key]);
  must(missing.length === 0, `not measured: ${missing.join(', ')}; e2e/run compatibility measures all`);
  const file = join(scratch, 'compatibility.md');
  writeFileSync(file, `${table()}\n`);
  const [, written] = readFileSync(join(root, 'README.md'), 'utf8').match(/<!-- by e2e\/run compatibility -->\n([^]*?)\n<!-- end -->/) ?? [];
  must(written === table(), `README.md has another table than what was measured: put in what is in ${file}`);
  return `${tried.length} measured`;
}

export const cases = [
  ...tried.map(({ client, column }) => ({ name: `compatibility-${client.key}-${column}`, login: 'local', run: measure(client, column) })),
  { name: 'compatibility-table', login: 'local', run: holdAgainstReadme },
];
