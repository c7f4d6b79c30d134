// A server behind the program hears who calls, and verifies it by itself with another project's code: by a token of ours, by the person's own
// token of Keycloak, and by one that Keycloak trades for it. What the server gets is written down, byte for byte.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { binary, publicUrl, pythonFastmcp, ring, upstreamPort } from '../settings.mjs';
import { Child, mustBeFree } from '../drivers/child.mjs';
import { callFortune, NativeClient, statusOnceOut } from '../drivers/native_client.mjs';
import { Recorder } from '../drivers/recorder.mjs';
import { Sekisho } from '../drivers/sekisho.mjs';
import { accepts } from '../drivers/upstream.mjs';
import { must, mustBe } from './must.mjs';

/** Seconds that Keycloak's access tokens live here: short enough to see one end. */
const LIFE_S = 20;
/** Where the recorder listens, and the server behind it. */
const [front, behind] = [upstreamPort, upstreamPort + 1];
const url = `http://127.0.0.1:${front}/mcp`;

/** What the operator sets, and what the server is told to believe. */
const ways = {
  jwt: {
    identity: '{ by = "jwt" }',
    verifies: () => [`${publicUrl}/jwks.json`, publicUrl, url, 'ES256'],
    mustSay: (claims, person) => {
      mustBe('sub', claims.sub, person.id);
      mustBe('scope', claims.scope, 'fortune');
      mustBe('email', claims.email, `${person.username}@example.com`);
    },
  },
  'provider-token': {
    identity: '{ by = "provider-token" }',
    verifies: ({ issuer }) => [`${issuer}/protocol/openid-connect/certs`, issuer, '', 'RS256'],
    mustSay: (claims, person) => {
      mustBe('sub', claims.sub, person.id);
      mustBe('azp', claims.azp, 'mcp');
    },
  },
  'token-exchange': {
    identity: '{ by = "token-exchange", audience = ["tools"], scopes = ["tools-audience"] }',
    verifies: ({ issuer }) => [`${issuer}/protocol/openid-connect/certs`, issuer, 'tools', 'RS256'],
    mustSay: (claims, person) => {
      mustBe('sub', claims.sub, person.id);
      mustBe('aud', claims.aud, 'tools');
    },
  },
};

/** As the guide has it: our client may trade tokens, and Keycloak knows the server and who its tokens are for. */
async function letTokensBeTraded(keycloak) {
  const undo = await keycloak.changeClient({ 'standard.token.exchange.enabled': 'true', 'access.token.lifespan': String(LIFE_S) });
  const known = await keycloak.administer('GET', 'clients?clientId=tools');
  if (known.length > 0) return undo;
  await keycloak.administer('POST', 'clients', { clientId: 'tools', protocol: 'openid-connect', publicClient: false, standardFlowEnabled: false });
  await keycloak.administer('POST', 'client-scopes', {
    name: 'tools-audience',
    protocol: 'openid-connect',
    attributes: { 'include.in.token.scope': 'true' },
    protocolMappers: [
      { name: 'tools', protocol: 'openid-connect', protocolMapper: 'oidc-audience-mapper', config: { 'included.client.audience': 'tools', 'access.token.claim': 'true' } },
    ],
  });
  const [scope] = (await keycloak.administer('GET', 'client-scopes')).filter(({ name }) => name === 'tools-audience');
  const [client] = await keycloak.administer('GET', `clients?clientId=${keycloak.client.id}`);
  await keycloak.administer('PUT', `clients/${client.id}/optional-client-scopes/${scope.id}`);
  return undo;
}

const doctor = (sekisho) =>
  new Promise((settle) => {
    execFile(binary, ['doctor', '--config', sekisho.settings], { cwd: sekisho.folder, env: { PATH: process.env.PATH } }, (_, stdout) => settle(stdout));
  });

const telling = (name) => async (world) => {
  const { keycloak } = world;
  const { identity, verifies, mustSay } = ways[name];
  const undo = await letTokensBeTraded(keycloak);
  const sekisho = world.until(await Sekisho.startWithKeycloak(world.name, keycloak, { recheck: '1h' }, `{ url = "${url}", identity = ${identity} }`));
  for (const port of [front, behind]) await mustBeFree(port, 'the server behind', 'E2E_UPSTREAM_PORT');
  const words = [join(ring, 'servers', 'fastmcp_who.py'), String(behind), ...verifies(keycloak)];
  const server = new Child('fastmcp', pythonFastmcp, words, { cwd: sekisho.folder, env: { ...process.env, NO_COLOR: '1' }, log: join(sekisho.folder, 'upstream.log') });
  world.until(server);
  await server.printed(/Uvicorn running/, 30_000);
  const recorder = world.until(await Recorder.start(front, behind));
  await accepts(server);

  const who = await keycloak.newPerson(`alice-${name}`);
  const client = world.until(await NativeClient.register('Outside ring'));
  const person = await world.person();
  const attempt = client.begin();
  await person.page.goto(attempt.url);
  await person.approve();
  await person.logIn(who);
  const code = (await client.arrival()).get('code');
  const tokens = await client.redeem(code, attempt);
  mustBe('/token', tokens.status, 200);

  const told = async () => JSON.parse((await callFortune(tokens.access_token)).replace(/^今日の運勢は: \S+ /, ''));
  mustSay(await told(), who);
  const first = recorder.bearers.length;
  mustSay(await told(), who);
  must(recorder.bearers.length <= first + 1, 'a token is kept for a while');
  // Longer than a token of Keycloak's lives here.
  await pause(LIFE_S * 1000);
  mustSay(await told(), who);
  const { bearers, text } = recorder;
  if (name !== 'jwt') must(bearers.length >= 2, `a token is renewed: there were ${bearers.length}`);
  const cookies = (await person.context?.cookies?.()) ?? [];
  for (const [what, secret] of [
    ['access token', tokens.access_token],
    ['refresh token', tokens.refresh_token],
    ['code', code],
    ['verifier', attempt.verifier],
    ['secret at Keycloak', keycloak.client.secret],
    ...cookies.filter(({ value }) => value.length >= 16).map(({ value }) => ['cookie', value]),
  ]) {
    must(!text.includes(secret), `the server got a ${what}`);
  }
  for (const bearer of bearers) {
    must(!sekisho.child.output.includes(bearer), 'a token is in the log');
    const claims = JSON.parse(Buffer.from(bearer.split('.')[1], 'base64url').toString());
    must(!['Refresh', 'Offline', 'ID'].includes(claims.typ), `the server got a token of the kind ${claims.typ}`);
  }
  if (name === 'token-exchange') {
    const said = await doctor(sekisho);
    must(/^ok\s+.*trades tokens/m.test(said), `the doctor says ${said}`);
    await keycloak.changeClient({ 'standard.token.exchange.enabled': 'false' });
    const refused = await doctor(sekisho);
    must(/^problem\s+.*trade/m.test(refused), `the doctor says, when our client may not: ${refused}`);
    await keycloak.changeClient({ 'standard.token.exchange.enabled': 'true' });
  }

  if (name !== 'jwt') {
    await keycloak.administer('PUT', `users/${who.id}`, { ...who.found, enabled: false });
    await pause(LIFE_S * 1000);
    const refused = await callFortune(tokens.access_token).catch(({ message }) => message);
    must(/log in again|answered initialize with 401/.test(refused), `who is disabled at Keycloak hears ${refused}`);
    mustBe('the status of /mcp after that', await statusOnceOut('/mcp', tokens.access_token), 401);
  }
  await undo();
  return `${bearers.length} tokens`;
};

export const cases = Object.keys(ways).map((name) => ({ name: `who-calls-by-${name}-keycloak-26.7.0`, login: '26.7.0', run: telling(name) }));
