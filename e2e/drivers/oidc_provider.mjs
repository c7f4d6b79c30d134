// node-oidc-provider, started beside a case, and what a person does on its pages.
import { join } from 'node:path';
import { keycloakPort, publicUrl, ring, scratch } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';

const START_MS_MAX = 15_000;

export class OidcProvider {
  issuer = `http://localhost:${keycloakPort}`;

  /** For an `[identity]`, or for the `[[identity]]` of that name. It has Keycloak's port, which nobody uses then. */
  static async start(name, called = '') {
    const provider = new OidcProvider();
    await mustBeFree(keycloakPort, 'node-oidc-provider', 'E2E_KEYCLOAK_PORT');
    const below = (path) => (called ? `${path}/${called}` : path);
    provider.child = new Child('node-oidc-provider', process.execPath, [join(ring, 'servers', 'oidc_provider.mjs'), String(keycloakPort), publicUrl, below('/auth/callback'), below('/auth/logout')], {
      cwd: ring,
      env: process.env,
      log: join(scratch, 'runs', `${name}-provider`, 'oidc-provider.log'),
    });
    await provider.child.printed(/^listening on/m, START_MS_MAX);
    return provider;
  }

  /** The settings of a table `identity`; the secret has signs that must be encoded on their way. */
  get settings() {
    return `provider      = "oidc"
issuer        = "${this.issuer}"
client_id     = "mcp"
client_secret = "a secret of node-oidc-provider, with 100% signs"
scopes        = ["openid", "email", "profile", "groups"]
prompt        = "consent"
`;
  }

  async logIn(person, name) {
    const { page } = person;
    await page.waitForURL((url) => url.href.startsWith(`${this.issuer}/interaction/`));
    await page.locator('[name=login]').fill(name);
    await page.locator('[name=password]').fill('any');
    await page.locator('[name=password]').press('Enter');
    await page.locator('input[name=prompt][value=consent]').waitFor({ state: 'attached' });
    await page.locator('button[type=submit]').click();
  }

  async takeAway(name) {
    const answer = await fetch(`${this.issuer}/test/gone?${name}`, { method: 'POST' });
    if (!answer.ok) throw new Error(`node-oidc-provider answered ${answer.status}`);
  }

  async stop() {
    await this.child.stop();
  }
}
