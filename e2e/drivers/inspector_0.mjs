// MCP Inspector of the 0.x line: one program serves the page, another passes its messages on, unless the page is told to connect directly.
// What a person chooses in its fields is put where the page keeps it, in the browser's storage.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { inspector0, inspectorPort } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';

const START_MS_MAX = 60_000;

export class Inspector0 {
  static async start(version, folder) {
    const program = inspector0(version);
    if (!existsSync(program)) throw new Error(`MCP Inspector ${version} is not installed: run e2e/install`);
    const proxyPort = inspectorPort + 3;
    for (const port of [inspectorPort, proxyPort]) await mustBeFree(port, 'MCP Inspector', 'E2E_INSPECTOR_PORT');
    const home = join(folder, 'inspector');
    mkdirSync(home, { recursive: true });
    const inspector = new Inspector0();
    inspector.child = new Child(`MCP Inspector ${version}`, process.execPath, [program], {
      cwd: home,
      log: join(folder, 'inspector.log'),
      env: { ...process.env, HOME: home, MCP_AUTO_OPEN_ENABLED: 'false', CLIENT_PORT: String(inspectorPort), SERVER_PORT: String(proxyPort) },
    });
    const [, url] = await inspector.child.printed(new RegExp(`up and running at:?\\s+(http://[\\w.]+:${inspectorPort}\\S*)`), START_MS_MAX);
    inspector.url = url;
    inspector.proxy = `http://localhost:${proxyPort}`;
    return inspector;
  }

  async stop() {
    await this.child.stop();
  }

  /** Chooses transport, URL and way, and connects; a server that wants a login takes the page away from here. */
  async connect(person, chosen) {
    await this.choose(person, chosen);
    await this.pressConnect(person);
  }

  async choose(person, { transport, url, way }) {
    const { page } = person;
    await page.goto(this.url);
    await page.evaluate(
      ([lastTransportType, lastSseUrl, lastConnectionType, proxy]) => {
        Object.entries({ lastTransportType, lastSseUrl, lastConnectionType }).forEach(([name, value]) => localStorage.setItem(name, value));
        const config = JSON.parse(localStorage.getItem('inspectorConfig_v1') ?? '{}');
        config.MCP_PROXY_FULL_ADDRESS = { ...config.MCP_PROXY_FULL_ADDRESS, value: proxy };
        localStorage.setItem('inspectorConfig_v1', JSON.stringify(config));
      },
      [transport, url, way, this.proxy],
    );
    await page.goto('about:blank');
    await page.goto(this.url);
    await page.getByRole('button', { name: 'Connect', exact: true }).waitFor();
    await person.picture('1-inspector');
  }

  async pressConnect({ page }) {
    await page.getByRole('button', { name: 'Connect', exact: true }).click();
  }

  /** Gets a token before it connects, by the page's own settings. */
  async beginQuickLogin({ page }) {
    await page.getByRole('button', { name: 'Open Auth Settings' }).click();
    await page.getByRole('button', { name: 'Quick OAuth Flow' }).click();
  }

  async endQuickLogin({ page }) {
    await page.getByText('Authentication completed successfully').waitFor();
  }

  /** Back from the login: runs the one tool and answers what it said. */
  async runFortune(person) {
    const { page } = person;
    await page.waitForURL((url) => url.origin === new URL(this.url).origin && url.pathname === '/');
    await page.getByText('Connected', { exact: true }).first().waitFor();
    await person.picture('4-connected');
    await page.getByRole('tab', { name: 'Tools' }).click();
    await page.getByRole('button', { name: 'List Tools' }).click();
    await page.getByText(/運勢/).first().click();
    await page.getByRole('button', { name: 'Run Tool' }).click();
    const answer = page.getByText(/今日の運勢は: /).first();
    await answer.waitFor();
    await person.picture('5-fortune');
    return (await answer.innerText()).replace(/^"|"$/g, '');
  }
}
