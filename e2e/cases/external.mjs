// Keycloak as the authorization server: `keycloak bootstrap` makes the realm ready, clients register there by themselves, and the program
// only checks their tokens.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binary, callbackPort, keycloakUrl, publicUrl, python, ring } from '../settings.mjs';
import { Child, mustBeFree } from '../drivers/child.mjs';
import { callFortune, statusOf } from '../drivers/native_client.mjs';
import { Sekisho } from '../drivers/sekisho.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const ANSWER_MS_MAX = 20_000;
const endpoints = { sse: '/sse', http: '/mcp' };
const run = promisify(execFile);
const within = () => AbortSignal.timeout(ANSWER_MS_MAX);

/** Has the realm made ready for the settings of `sekisho`; gives what was changed, a line each. */
async function bootstrap(sekisho, keycloak) {
  const { username, password } = keycloak.admin;
  const { stdout } = await run(binary, ['keycloak', 'bootstrap', '--apply', '--config', sekisho.settings], {
    cwd: sekisho.folder,
    env: { PATH: process.env.PATH, KC_BOOTSTRAP_ADMIN_USERNAME: username, KC_BOOTSTRAP_ADMIN_PASSWORD: password },
  });
  return stdout.trim().split('\n');
}

async function begin(world) {
  const sekisho = world.until(await Sekisho.startExternal(world.name, world.keycloak));
  await bootstrap(sekisho, world.keycloak);
  return sekisho;
}

async function register(redirectUri) {
  const metadata = { client_name: 'x', redirect_uris: [redirectUri], token_endpoint_auth_method: 'none', scope: 'fortune' };
  const answer = await fetch(`${keycloakUrl}/realms/master/clients-registrations/openid-connect`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(metadata),
    signal: within(),
  });
  return answer.status;
}

/** The first of the cases, since it wants the realm untouched. Before, nobody may register; after, those on loopback may and others may not; a second time changes nothing; what was undone is redone. */
async function bootstrapping(world) {
  const { keycloak } = world;
  const sekisho = world.until(await Sekisho.startExternal(world.name, keycloak));
  const ready = await fetch(`${publicUrl}/readyz`, { signal: within() });
  mustBe('/readyz', ready.status, 200);
  mustBe('registering before', await register('http://localhost:3030/callback'), 403);
  const first = await bootstrap(sekisho, keycloak);
  must(first.includes('made the scope fortune, for ' + publicUrl + '/mcp'), `it says ${first.join(' | ')}`);
  mustBe('registering after', await register('http://localhost:3030/callback'), 201);
  mustBe('registering for another host', await register('https://evil.example/callback'), 403);
  mustBe('the second time', (await bootstrap(sekisho, keycloak)).join(), 'nothing to change');

  const [scope] = (await keycloak.administer('GET', 'client-scopes')).filter(({ name }) => name === 'fortune');
  await keycloak.administer('DELETE', `client-scopes/${scope.id}/protocol-mappers/models/${scope.protocolMappers[0].id}`);
  mustBe('the third time', (await bootstrap(sekisho, keycloak)).join(), `had the scope fortune put ${publicUrl}/mcp into aud`);
  mustBe('the fourth time', (await bootstrap(sekisho, keycloak)).join(), 'nothing to change');

  const greedy = { ...sekisho, settings: join(sekisho.folder, 'greedy.toml') };
  const server = '[[server]]\nname = "fortune"\npath = "/"\nscopes = ["email"]\nupstream = { builtin = "fortune" }\n';
  writeFileSync(greedy.settings, `${readFileSync(sekisho.settings, 'utf8')}\n${server}`);
  const refused = await bootstrap(greedy, keycloak).catch((error) => error);
  must(/gives the scope email to every client/.test(refused.stderr), `for a scope of everybody it says ${refused.stderr ?? refused}`);
}

const pythonSdk = (transport) => async (world) => {
  const sekisho = await begin(world);
  const { username, password } = world.keycloak.person;
  const client = world.until(
    new Child('the Python client', python, [join(ring, 'python_client.py'), '--url', `${publicUrl}${endpoints[transport]}`, '--transport', transport], {
      cwd: sekisho.folder,
      log: join(sekisho.folder, 'python.log'),
      env: { ...process.env, E2E_USERNAME: username, E2E_PASSWORD: password },
    }),
  );
  const [line] = await client.printed(/^\{"answer".*\}$/m, 90_000);
  const { answer, way, iss } = JSON.parse(line);
  mustBeAFortune(answer);
  mustBe('iss', iss, world.keycloak.issuer);
  must(way.every((step) => step.includes(keycloakUrl)), `the browser must go to Keycloak alone: ${way.join(', ')}`);
};

const typeScriptSdk = (transport) => async (world) => {
  const sekisho = await begin(world);
  await mustBeFree(callbackPort, 'the client', 'E2E_CALLBACK_PORT');
  const args = ['--sdk', '@modelcontextprotocol/sdk', '--url', `${publicUrl}${endpoints[transport]}`, '--transport', transport, '--redirect-uri', `http://localhost:${callbackPort}/callback`];
  const client = world.until(
    new Child('the TypeScript client', process.execPath, [join(ring, 'clients', 'typescript.mjs'), ...args], {
      cwd: sekisho.folder,
      log: join(sekisho.folder, 'typescript.log'),
      env: process.env,
    }),
  );
  const [, url] = await client.printed(/^open (http\S+)$/m, 30_000);
  const person = await world.person();
  await person.page.goto(url);
  await person.logInAtKeycloak(world.keycloak.person);
  // Keycloak asks about clients that registered by themselves.
  await person.page.locator('[name=accept]').waitFor();
  await person.picture('consent-at-keycloak');
  await person.page.locator('[name=accept]').click();
  const [line] = await client.printed(/^\{"answer".*\}$/m, 60_000);
  mustBeAFortune(JSON.parse(line).answer);
};

/** Cases 53 to 55: of all tokens of this realm only an access token for this resource opens it, with the scope it needs. */
async function otherTokens(world) {
  const { keycloak } = world;
  await begin(world);
  const client = { clientId: 'other', secret: 'other-secret', protocol: 'openid-connect', publicClient: false, directAccessGrantsEnabled: true, standardFlowEnabled: false };
  const known = await keycloak.administer('GET', 'clients?clientId=other');
  for (const { id } of known) await keycloak.administer('DELETE', `clients/${id}`);
  await keycloak.administer('POST', 'clients', client);
  const tokens = async (scope) => {
    const body = new URLSearchParams({ grant_type: 'password', client_id: 'other', client_secret: 'other-secret', scope, ...keycloak.person });
    const answer = await fetch(`${keycloak.issuer}/protocol/openid-connect/token`, { method: 'POST', body, signal: within() });
    if (!answer.ok) throw new Error(`Keycloak gives no token: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const ours = await tokens('openid fortune');
  mustBeAFortune(await callFortune(ours.access_token));
  mustBe('an ID token', await statusOf('/mcp', ours.id_token), 401);
  mustBe('a refresh token', await statusOf('/mcp', ours.refresh_token), 401);
  mustBe('a token for nobody here', await statusOf('/mcp', (await tokens('openid')).access_token), 401);
  mustBe("an administrator's token", await statusOf('/mcp', await keycloak.adminToken()), 401);

  // The audience without the scope: it is for us, and may not do what the tool needs.
  const [made] = await keycloak.administer('GET', 'clients?clientId=other');
  await keycloak.administer('POST', `clients/${made.id}/protocol-mappers/models`, {
    name: 'for us',
    protocol: 'openid-connect',
    protocolMapper: 'oidc-audience-mapper',
    config: { 'included.custom.audience': `${publicUrl}/mcp`, 'access.token.claim': 'true' },
  });
  mustBe('a token without the scope', await statusOf('/mcp', (await tokens('openid')).access_token), 403);
}

/** Tokens are asked about instead of read; what is taken back at Keycloak is refused when the word about it is old. */
async function introspecting(world) {
  const { keycloak } = world;
  const more = 'verify = "introspection"\nclient_id = "who-asks"\nclient_secret = "secret-of-who-asks"\nintrospection_ttl = "1s"\n';
  const sekisho = world.until(await Sekisho.startExternal(world.name, keycloak, more));
  const changes = await bootstrap(sekisho, keycloak);
  must(changes.includes('made the client who-asks, which asks about tokens'), `it says ${changes.join(' | ')}`);
  mustBe('the second time', (await bootstrap(sekisho, keycloak)).join(), 'nothing to change');
  const who = await keycloak.newPerson(`asked-about-${keycloak.version}`);
  const [known] = await keycloak.administer('GET', 'clients?clientId=asking');
  if (!known) {
    await keycloak.administer('POST', 'clients', { clientId: 'asking', protocol: 'openid-connect', publicClient: true, directAccessGrantsEnabled: true, standardFlowEnabled: false });
  }
  const body = new URLSearchParams({ grant_type: 'password', client_id: 'asking', scope: 'openid fortune', username: who.username, password: who.password });
  const answer = await fetch(`${keycloak.issuer}/protocol/openid-connect/token`, { method: 'POST', body, signal: within() });
  const token = (await answer.json()).access_token;
  mustBeAFortune(await callFortune(token));
  await keycloak.administer('POST', `users/${who.id}/logout`);
  const began = Date.now();
  while ((await statusOf('/mcp', token)) !== 401) {
    must(Date.now() - began < 5_000, 'access lasted 5 s after the session ended');
    await new Promise((settle) => setTimeout(settle, 100));
  }
  return `out after ${((Date.now() - began) / 1000).toFixed(1)} s`;
}

/** In the usual mode: the client that `bootstrap` makes is one that people can log in with. */
async function ourClient(world) {
  const keycloak = Object.assign(Object.create(Object.getPrototypeOf(world.keycloak)), world.keycloak, { client: { id: 'made-by-bootstrap', secret: 'bootstrap-secret' } });
  const sekisho = world.until(await Sekisho.startWithKeycloak(world.name, keycloak));
  for (const { id } of await keycloak.administer('GET', 'clients?clientId=made-by-bootstrap')) await keycloak.administer('DELETE', `clients/${id}`);
  mustBe('the first time', (await bootstrap(sekisho, keycloak)).join(), 'made the client made-by-bootstrap');
  mustBe('the second time', (await bootstrap(sekisho, keycloak)).join(), 'nothing to change');
  const [client] = await keycloak.administer('GET', 'clients?clientId=made-by-bootstrap');
  await keycloak.administer('PUT', `clients/${client.id}`, { ...client, redirectUris: ['https://elsewhere.example/cb'], secret: 'another' });
  const third = await bootstrap(sekisho, keycloak);
  mustBe('changes of the third time', third.length, 2);
  const { username, password } = keycloak.person;
  const program = world.until(
    new Child('the Python client', python, [join(ring, 'python_client.py'), '--url', `${publicUrl}/mcp`, '--transport', 'http'], {
      cwd: sekisho.folder,
      log: join(sekisho.folder, 'python.log'),
      env: { ...process.env, E2E_USERNAME: username, E2E_PASSWORD: password },
    }),
  );
  const [line] = await program.printed(/^\{"answer".*\}$/m, 90_000);
  mustBeAFortune(JSON.parse(line).answer);
}

export const cases = [
  { name: 'external-bootstrap-keycloak-26.1.0', login: '26.1.0', run: bootstrapping },
  { name: 'external-bootstrap-keycloak-26.7.0', login: '26.7.0', run: bootstrapping },
  { name: 'external-other-tokens-keycloak-26.1.0', login: '26.1.0', run: otherTokens },
  { name: 'external-other-tokens-keycloak-26.7.0', login: '26.7.0', run: otherTokens },
  ...['26.1.0', '26.7.0'].flatMap((login) => [
    { name: `external-python-sdk-http-keycloak-${login}`, login, run: pythonSdk('http') },
    { name: `external-python-sdk-sse-keycloak-${login}`, login, run: pythonSdk('sse') },
    { name: `external-typescript-sdk-http-keycloak-${login}`, login, run: typeScriptSdk('http') },
    { name: `external-typescript-sdk-sse-keycloak-${login}`, login, run: typeScriptSdk('sse') },
    { name: `external-introspection-keycloak-${login}`, login, run: introspecting },
    { name: `bootstrap-makes-our-client-keycloak-${login}`, login, run: ourClient },
  ]),
];
