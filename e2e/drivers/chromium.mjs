// Debian's Chromium, kept on loopback, and what a person does in it on the way through a login.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium as playwright } from 'playwright-core';
import { chromium as program, keycloakUrl, screenshots } from '../settings.mjs';

const STEP_MS_MAX = 30_000;

export function launch() {
  return playwright.launch({
    executablePath: program,
    headless: true,
    args: [
      ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
    ],
  });
}

/** One person's browser: a cookie jar, one page, and the list of every address it went to. */
export class Person {
  static async sitDown(browser, album, options = {}) {
    const person = new Person();
    person.album = join(screenshots, album);
    mkdirSync(person.album, { recursive: true });
    person.context = await browser.newContext({ locale: 'en-US', ...options });
    person.context.setDefaultTimeout(STEP_MS_MAX);
    person.asked = [];
    person.answers = [];
    person.context.on('request', (request) => person.asked.push(request.url()));
    person.context.on('response', (response) => person.answers.push(response));
    person.page = await person.context.newPage();
    return person;
  }

  async leave() {
    await this.context.close();
  }

  async picture(name) {
    await this.page.screenshot({ path: join(this.album, `${name}.png`), fullPage: true });
  }

  approveButton() {
    return this.page.locator('button[name=decision][value=approve]');
  }

  /** Waits for the consent page and holds it to its promise: until the answer, nobody has been to the identity provider. */
  async readConsent() {
    await this.approveButton().waitFor();
    await this.page.waitForLoadState('networkidle');
    await this.picture('consent');
    const early = this.asked.filter((url) => url.startsWith(`${keycloakUrl}/`));
    if (early.length > 0) throw new Error(`the browser was sent to Keycloak before anybody approved: ${early[0]}`);
    const authorize = this.answers.filter((answer) => new URL(answer.url()).pathname === '/authorize');
    for (const answer of authorize) {
      if (answer.status() !== 200 || answer.headers().location) {
        throw new Error(`/authorize answered ${answer.status()} with Location ${answer.headers().location}, not 200 and a page`);
      }
    }
  }

  async approve() {
    await this.readConsent();
    await this.approveButton().click();
  }

  async deny() {
    await this.readConsent();
    await this.page.locator('button[name=decision][value=deny]').click();
  }

  /** Fills in the login form, ours or Keycloak's: both name their fields alike. */
  async logIn({ username, password }) {
    await this.page.locator('[name=username]').waitFor();
    await this.picture('login');
    await this.page.locator('[name=username]').fill(username);
    await this.page.locator('[name=password]').fill(password);
    await this.page.locator('[name=password]').press('Enter');
  }

  async logInAtKeycloak(who) {
    await this.page.waitForURL((url) => url.href.startsWith(`${keycloakUrl}/realms/master/`));
    await this.logIn(who);
  }
}
