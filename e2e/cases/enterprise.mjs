// Enterprise-managed authorization: the TypeScript SDK brings the word of a company's identity provider (a stand-in, which signs what
// that would). The official suite, which has a scenario for such clients alone, judges first whether this one does it right.
import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binary, conformance, keycloakPort, publicUrl, ring, scratch } from '../settings.mjs';
import { Child } from '../drivers/child.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const RUN_MS_MAX = 40_000;
const SCENARIO = 'auth/enterprise-managed-authorization';
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';

const program = join(ring, 'clients', 'cross_app.mjs');
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SEKISHO_')));
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Vouches for whoever shows an ID token, and writes down what it was asked. */
class Company {
  issuer = `http://localhost:${keycloakPort}`;
  asked = [];

  async open() {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const keys = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'company', alg: 'ES256', use: 'sig' }] };
    this.privateKey = privateKey;
    this.server = createServer(async (request, response) => {
      const answer = (document) => response.setHeader('content-type', 'application/json').end(JSON.stringify(document));
      if (request.url === '/.well-known/openid-configuration') return answer({ issuer: this.issuer, jwks_uri: `${this.issuer}/keys`, token_endpoint: `${this.issuer}/token` });
      if (request.url === '/keys') return answer(keys);
      let body = '';
      for await (const chunk of request) body += chunk;
      const form = Object.fromEntries(new URLSearchParams(body));
      this.asked.push(form);
      return answer({ access_token: this.vouch(form), issued_token_type: ID_JAG, token_type: 'N_A' });
    });
    await new Promise((settle) => this.server.listen(keycloakPort, '127.0.0.1', settle));
    return this;
  }

  /** The company's administrator wrote down which server that audience is, by the issuer that the server calls itself. */
  vouch({ resource, scope }) {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: this.issuer, sub: 'alice', aud: publicUrl, client_id: this.client, resource, scope, jti: randomUUID(), iat: now, exp: now + 300 };
    const text = `${part({ alg: 'ES256', typ: 'oauth-id-jag+jwt', kid: 'company' })}.${part(claims)}`;
    return `${text}.${sign('sha256', Buffer.from(text), { key: this.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((settle) => this.server.close(settle));
  }
}

async function theSuiteAcceptsTheClient(world) {
  const results = join(scratch, 'runs', world.name);
  rmSync(results, { recursive: true, force: true });
  mkdirSync(results, { recursive: true });
  const args = [conformance, 'client', '--command', `${process.execPath} ${program}`, '--scenario', SCENARIO, '--output-dir', results];
  const run = world.until(new Child('the suite', process.execPath, args, { cwd: ring, env: process.env, log: join(results, 'suite.log') }));
  await Promise.race([run.gone, new Promise((_, refuse) => setTimeout(() => refuse(new Error('the suite does not end')), RUN_MS_MAX).unref())]);
  const written = readdirSync(results, { recursive: true }).find((path) => path.endsWith('checks.json'));
  must(written, `the suite wrote nothing down: ${run.lastWords()}`);
  const checks = JSON.parse(readFileSync(join(results, written), 'utf8'));
  const wrong = checks.filter(({ status }) => !['SUCCESS', 'INFO', 'SKIPPED'].includes(status));
  must(wrong.length === 0, wrong.map(({ name, description }) => `${name}: ${description}`).join('; '));
  return `${checks.filter(({ status }) => status === 'SUCCESS').length} checks`;
}

async function aCompanyVouches(world) {
  const company = world.until(await new Company().open());
  const sekisho = await world.sekisho(`\n[authorization]\nid_jag_issuers = ["${company.issuer}"]\n`);
  const run = promisify(execFile);
  const added = await run(binary, ['client', 'add', 'Company client', '--redirect-uri', 'https://client.corp.example/cb', '--json', '--config', sekisho.settings], { cwd: sekisho.folder, env });
  const { client_id: id, client_secret: secret } = JSON.parse(added.stdout);
  company.client = id;
  const context = { client_id: id, client_secret: secret, idp_client_id: 'at-the-company', idp_id_token: 'an ID token of the company', idp_token_endpoint: `${company.issuer}/token` };
  const { stdout } = await run(process.execPath, [program, `${publicUrl}/mcp`], { cwd: ring, env: { ...env, MCP_CONFORMANCE_CONTEXT: JSON.stringify(context) }, timeout: RUN_MS_MAX });
  mustBeAFortune(JSON.parse(stdout.trim().split('\n').at(-1)).answer);
  mustBe('questions to the company', company.asked.length, 1);
  mustBe('resource as the client names it', company.asked[0].resource, `${publicUrl}/mcp`);
  const list = await run(binary, ['grant', 'list', '--user', 'alice', '--config', sekisho.settings], { cwd: sekisho.folder, env });
  must(list.stdout.includes(company.issuer), `the grant does not say where alice comes from: ${list.stdout}`);
  return `the SDK calls us ${company.asked[0].audience}`;
}

export const cases = [
  { name: 'enterprise-client-is-accepted-by-the-suite', login: 'local', run: theSuiteAcceptsTheClient },
  { name: 'enterprise-a-company-vouches-for-a-person', login: 'local', run: aCompanyVouches },
];
