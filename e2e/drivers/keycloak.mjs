// A real Keycloak in development mode, with what the README's guide has a person click: the confidential client `mcp` in realm `master`,
// and somebody who can log in.
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { keycloakHome, keycloakPort, keycloakUrl, publicUrl, scratch } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';

const START_MS_MAX = 300_000;
const ANSWER_MS_MAX = 20_000;

const random = () => randomBytes(16).toString('hex');

export class Keycloak {
  static async start(version) {
    const home = keycloakHome(version);
    if (!existsSync(home)) throw new Error(`Keycloak ${version} is not installed: run e2e/install`);
    await mustBeFree(keycloakPort, `Keycloak ${version}`, 'E2E_KEYCLOAK_PORT');
    rmSync(join(home, 'data', 'h2'), { recursive: true, force: true });

    const keycloak = new Keycloak();
    keycloak.version = version;
    keycloak.issuer = `${keycloakUrl}/realms/master`;
    keycloak.admin = { username: 'admin', password: random() };
    keycloak.client = { id: 'mcp', secret: random() };
    keycloak.person = { username: 'alice', password: random() };
    const log = join(scratch, 'logs', `keycloak-${version}.log`);
    rmSync(log, { force: true });
    keycloak.child = new Child(`Keycloak ${version}`, 'bash', ['bin/kc.sh', 'start-dev', '--http-host=127.0.0.1', `--http-port=${keycloakPort}`], {
      cwd: home,
      log,
      env: {
        ...process.env,
        // It lives for a minute: starting soon is worth more than running fast.
        JAVA_OPTS_APPEND: '-XX:TieredStopAtLevel=1',
        KC_BOOTSTRAP_ADMIN_USERNAME: keycloak.admin.username,
        KC_BOOTSTRAP_ADMIN_PASSWORD: keycloak.admin.password,
      },
    });
    try {
      await keycloak.child.printed(/started in [\d.]+s/, START_MS_MAX);
      await keycloak.untilReady();
      await keycloak.makeClientAndPerson();
    } catch (error) {
      await keycloak.stop();
      throw error;
    }
    return keycloak;
  }

  async stop() {
    await this.child.stop(20_000);
  }

  async untilReady() {
    for (let tries = 0; tries < 60; tries += 1) {
      const answer = await fetch(`${this.issuer}/.well-known/openid-configuration`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) }).catch(() => null);
      if (answer?.ok) return;
      await pause(500);
    }
    throw new Error(`Keycloak ${this.version} does not answer at ${this.issuer} (log: ${this.child.log})`);
  }

  async makeClientAndPerson() {
    await this.administer('POST', 'clients', {
      clientId: this.client.id,
      secret: this.client.secret,
      protocol: 'openid-connect',
      publicClient: false,
      standardFlowEnabled: true,
      directAccessGrantsEnabled: false,
      redirectUris: [`${publicUrl}/auth/callback`],
    });
    await this.makePerson(this.person);
  }

  async makePerson({ username, password }) {
    await this.administer('POST', 'users', {
      username,
      enabled: true,
      // Complete, so that no "update your account" page stands between the login form and the way back.
      email: `${username}@example.com`,
      emailVerified: true,
      firstName: 'Alice',
      lastName: 'Example',
      requiredActions: [],
      credentials: [{ type: 'password', value: password, temporary: false }],
    });
  }

  /** Asks the administration API; gives what it answers, if that is JSON. */
  async administer(method, path, body) {
    const answer = await fetch(`${keycloakUrl}/admin/realms/master${path ? `/${path}` : ''}`, {
      method,
      headers: { authorization: `Bearer ${await this.adminToken()}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (!answer.ok) throw new Error(`Keycloak ${this.version}: ${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.headers.get('content-type')?.startsWith('application/json') ? answer.json() : undefined;
  }

  /** A person of their own for one case, so that what is done to them is done to nobody else. */
  async newPerson(username) {
    const person = { username, password: random() };
    await this.makePerson(person);
    [person.found] = await this.administer('GET', `users?exact=true&username=${username}`);
    person.id = person.found.id;
    return person;
  }

  /** Changes the client `mcp`, and gives what undoes it. */
  async changeClient(change) {
    const [client] = await this.administer('GET', `clients?clientId=${this.client.id}`);
    await this.administer('PUT', `clients/${client.id}`, { ...client, attributes: { ...client.attributes, ...change } });
    const before = Object.fromEntries(Object.keys(change).map((name) => [name, client.attributes[name] ?? '']));
    return () => this.administer('PUT', `clients/${client.id}`, { ...client, attributes: { ...client.attributes, ...before } });
  }

  /** The sessions of a person that outlive the browser's, for our client. */
  async offlineSessions(person) {
    const [client] = await this.administer('GET', `clients?clientId=${this.client.id}`);
    return this.administer('GET', `users/${person.id}/offline-sessions/${client.id}`);
  }

  async adminToken() {
    const answer = await fetch(`${this.issuer}/protocol/openid-connect/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'password', client_id: 'admin-cli', ...this.admin }),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (!answer.ok) throw new Error(`Keycloak ${this.version} refuses its own administrator: ${answer.status} ${await answer.text()}`);
    return (await answer.json()).access_token;
  }
}
