// The official conformance suite's `authorization` mode, and the scanner mcp-authlab: what others hold an authorization server to.
// Both are told nothing about us but the URL. The suite prints an address and the scanner wants a browser opened: a person goes there.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { callbackPort, conformance, publicUrl, python } from '../settings.mjs';
import { Child, mustBeFree } from '../drivers/child.mjs';
import { must, mustBe } from './must.mjs';

const SUITE_MS_MAX = 90_000;
const STEP_MS_MAX = 30_000;

const logIn = (world, person, who) => (world.keycloak ? person.logInAtKeycloak(who) : person.logIn(who));

/** Registers a public client for the one address where the suite listens. */
async function registerFor(redirectUri) {
  const answer = await fetch(`${publicUrl}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Conformance suite', redirect_uris: [redirectUri], token_endpoint_auth_method: 'none' }),
    signal: AbortSignal.timeout(STEP_MS_MAX),
  });
  mustBe('the status of /register', answer.status, 201);
  return (await answer.json()).client_id;
}

/** Every check that the suite wrote down, with its scenario. */
const checksIn = (folder) =>
  readdirSync(folder, { recursive: true })
    .filter((path) => path.endsWith('checks.json'))
    .flatMap((path) => JSON.parse(readFileSync(join(folder, path), 'utf8')));

const officialSuite = (more) => async (world) => {
  const sekisho = await world.sekisho();
  await mustBeFree(callbackPort, 'the conformance suite', 'E2E_CALLBACK_PORT');
  const client = await registerFor(`http://127.0.0.1:${callbackPort}/callback`);
  const results = join(sekisho.folder, 'results');
  const suite = world.until(
    new Child(
      'the conformance suite',
      process.execPath,
      [conformance, 'authorization', '--url', publicUrl, '--client-id', client, '--port', String(callbackPort), '--output-dir', results, ...more],
      { cwd: sekisho.folder, env: { ...process.env, NO_COLOR: '1' }, log: join(sekisho.folder, 'suite.log') },
    ),
  );
  const [address] = await suite.printed(/^http\S+\/authorize\?\S+$/m, STEP_MS_MAX);
  const person = await world.person();
  await person.page.goto(address);
  await person.approve();
  await logIn(world, person, sekisho.person);
  await Promise.race([suite.gone, new Promise((_, refuse) => setTimeout(() => refuse(new Error('the suite does not end')), SUITE_MS_MAX).unref())]);

  const checks = checksIn(results);
  const told = checks.map(({ id, status }) => `${id} ${status}`).join(', ');
  const failed = checks.filter(({ status }) => status !== 'SUCCESS');
  must(failed.length === 0, failed.map(({ id, status, errorMessage }) => `${id}: ${status}: ${errorMessage}`).join(' | '));
  for (const id of ['authorization-server-metadata', 'authorization-code-grant']) {
    mustBe(`how often the suite checked ${id}`, checks.filter((check) => check.id === id).length, 1);
  }
  mustBe('the end of the suite', suite.ended, 'exit code 0');
  return told;
};

/** A second server, so that there is a token that must not open the first. */
const SECOND_SERVER = `
[[server]]
name     = "fortune"
path     = "/"
upstream = { builtin = "fortune" }

[[server]]
name     = "other"
upstream = { builtin = "fortune" }
`;

/** What the scanner may warn of, and why it is no failure. A warning that is not here fails the case. */
const SCANNER_WARNINGS_KNOWN = new Map([['TLS-01', 'plain http on loopback, as here']]);

async function scanner(world) {
  const sekisho = await world.sekisho(SECOND_SERVER);
  const person = await world.person();
  const tokens = join(sekisho.folder, 'tokens.json');
  const run = (what, args) =>
    world.until(
      new Child(`mcp-authlab ${what}`, python, ['-m', 'mcp_authlab', what, `${publicUrl}/mcp`, ...args], {
        cwd: sekisho.folder,
        // It opens a browser by itself where it can; ours is told the address that it prints.
        env: { ...process.env, BROWSER: 'true', MCP_AUTHLAB_TOKENS: tokens, PYTHONUNBUFFERED: '1' },
        log: join(sekisho.folder, `${what}.log`),
      }),
    );

  const login = run('login', ['--thorough', '--foreign-resource', `${publicUrl}/other/mcp`]);
  for (let round = 1; ; round += 1) {
    const address = await nextAddress(login, round);
    if (!address) break;
    await person.page.goto(address);
    await person.approve();
    await person.logIn(sekisho.person);
    await person.page.getByText('Signed in').waitFor();
  }
  mustBe('the end of mcp-authlab login', login.ended, 'exit code 0');

  const scan = run('scan', ['--format', 'json', '--output', 'report.json', '--fail-under', 'A']);
  await scan.gone;
  const report = JSON.parse(readFileSync(join(sekisho.folder, 'report.json'), 'utf8'));
  const wrong = report.results.filter(({ id, status }) => status !== 'pass' && !(status === 'warn' && SCANNER_WARNINGS_KNOWN.has(id)));
  must(wrong.length === 0, wrong.map(({ id, status, message }) => `${id}: ${status}: ${message}`).join(' | '));
  mustBe('the end of mcp-authlab scan', scan.ended, 'exit code 0');
  return `${report.results.length} checks, grade ${report.grade}, ${report.coverage.line}`;
}

/** The address of the next sign-in that `login` asks for; none when it is done. */
async function nextAddress(login, round) {
  const asked = new RegExp(`(?:[\\s\\S]*?open this URL to sign in:\\s+(\\S+)){${round}}`);
  const found = login.printed(asked, STEP_MS_MAX).catch((error) => {
    if (login.ended) return undefined;
    throw error;
  });
  return (await found)?.[1];
}

export const cases = [
  { name: 'conformance-authorization-local', login: 'local', run: officialSuite(['--resource', `${publicUrl}/mcp`]) },
  { name: 'conformance-authorization-keycloak-26.1.0', login: '26.1.0', run: officialSuite([]) },
  { name: 'mcp-authlab-finds-nothing', login: 'local', run: scanner },
];
