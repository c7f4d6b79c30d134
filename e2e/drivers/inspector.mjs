// MCP Inspector as a person uses it: its own program serves the page, Chromium shows it.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { inspectorPort, inspectorProgram } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';

const START_MS_MAX = 60_000;

export class Inspector {
  /** `era` is `legacy` (the handshake alone, its default) or `auto`. */
  static async start(transport, serverUrl, folder, era = 'legacy') {
    if (!existsSync(inspectorProgram)) throw new Error('MCP Inspector is not installed: run e2e/install');
    await mustBeFree(inspectorPort, 'MCP Inspector', 'E2E_INSPECTOR_PORT');
    const home = join(folder, 'inspector');
    mkdirSync(home, { recursive: true });
    const inspector = new Inspector();
    inspector.child = new Child('MCP Inspector', process.execPath, [inspectorProgram, '--web', '--server-url', serverUrl, '--transport', transport, '--protocol-era', era], {
      cwd: home,
      log: join(folder, 'inspector.log'),
      env: {
        ...process.env,
        HOME: home,
        MCP_STORAGE_DIR: join(home, 'storage'),
        MCP_INSPECTOR_SECRET_STORE: 'memory',
        MCP_AUTO_OPEN_ENABLED: 'false',
        CLIENT_PORT: String(inspectorPort),
      },
    });
    const [url] = await inspector.child.printed(new RegExp(`http://127\\.0\\.0\\.1:${inspectorPort}\\S*MCP_INSPECTOR_API_TOKEN=\\w+`), START_MS_MAX);
    inspector.url = url;
    return inspector;
  }

  async stop() {
    await this.child.stop();
  }

  /** Opens the page and presses the switch that connects; a server that wants a login takes the page away from here. */
  async connect(person) {
    await person.page.goto(this.url);
    const connect = person.page.locator('label:has(input[role=switch][aria-label^="Connect or disconnect"])').first();
    await connect.waitFor();
    await person.picture('1-inspector');
    await connect.click();
  }

  /** Back from the login: runs the one tool and answers what it said. */
  runFortune(person) {
    // The tool is listed by its title and its name.
    return this.runTool(person, { button: /運勢.*fortune/, answer: /今日の運勢は: / });
  }

  /** Runs the tool of that button, with these texts filled in, and gives the answer that looks so. */
  async runTool(person, { button, texts = {}, answer: looks }) {
    const { page } = person;
    await page.waitForURL((url) => url.origin === new URL(this.url).origin && url.pathname === '/');
    await page.getByText('Connected', { exact: true }).first().waitFor();
    await person.picture('4-connected');
    await page.getByText('Tools', { exact: true }).first().click();
    await page.getByRole('button', { name: button }).first().click();
    for (const [label, text] of Object.entries(texts)) await page.getByLabel(label).first().fill(text);
    await page.getByRole('button', { name: /^(Execute|Run|Call)( Tool)?$/ }).first().click();
    const answer = page.getByText(looks).first();
    await answer.waitFor();
    await person.picture('5-fortune');
    return answer.innerText();
  }
}
