// The outside ring: real clients and a real identity provider against the built binary. Each case is printed by name with its result;
// none is left out without a word. Arguments are parts of names: only the cases that match run, the others are listed as left out.
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { binary, chromium, conformanceBinary, root, scratch, screenshots } from './settings.mjs';
import { launch, Person } from './drivers/chromium.mjs';
import { Keycloak } from './drivers/keycloak.mjs';
import { Sekisho } from './drivers/sekisho.mjs';
import { cases as clock } from './cases/clock.mjs';
import { cases as compatibility } from './cases/compatibility.mjs';
import { cases as conformance } from './cases/conformance.mjs';
import { cases as conformanceClient } from './cases/conformance_client.mjs';
import { cases as conformanceServer } from './cases/conformance_server.mjs';
import { cases as consent } from './cases/consent.mjs';
import { cases as doctor } from './cases/doctor.mjs';
import { cases as external } from './cases/external.mjs';
import { cases as gateway } from './cases/gateway.mjs';
import { cases as inspector } from './cases/inspector.mjs';
import { cases as kill } from './cases/kill.mjs';
import { cases as mcpcheck } from './cases/mcpcheck.mjs';
import { cases as metrics } from './cases/metrics.mjs';
import { cases as pages } from './cases/pages.mjs';
import { cases as pythonSdk } from './cases/python_sdk.mjs';
import { cases as sessions } from './cases/sessions.mjs';
import { cases as whoCalls } from './cases/who_calls.mjs';

const CASE_MS_MAX = 180_000;
const LOGINS = ['local', '26.1.0', '26.7.0'];

const cases = [...consent, ...pages, ...inspector, ...compatibility, ...pythonSdk, ...kill, ...clock, ...sessions, ...external, ...doctor, ...metrics, ...gateway, ...whoCalls, ...conformance, ...conformanceServer, ...conformanceClient, ...mcpcheck];

/** What one case may use, and what must be put away after it. */
class World {
  constructor(name, browser, keycloak) {
    Object.assign(this, { name, browser, keycloak, opened: [] });
  }

  /** Remembers that this is to be stopped at the end. */
  until(thing) {
    this.opened.push(thing);
    return thing;
  }

  /**
   * The program. `more` are more settings: of the table `identity` where Keycloak logs people in (an object), of the whole file (text)
   * where the `local` provider does, with an environment of its own, and perhaps another build of the program.
   */
  async sekisho(more, env = {}, program = binary) {
    return this.until(this.keycloak ? await Sekisho.startWithKeycloak(this.name, this.keycloak, more ?? {}) : await Sekisho.startWithLocalLogin(this.name, typeof more === 'string' ? more : '', env, program));
  }

  /** Somebody with a browser of their own; the album is the folder of their pictures. */
  async person({ album = this.name, options = {} } = {}) {
    return this.until(await Person.sitDown(this.browser, album, options));
  }

  /** What every open page showed when a case failed. */
  async lastPictures() {
    for (const thing of this.opened) {
      if (thing instanceof Person) await thing.picture('failed').catch(() => {});
    }
  }

  async close() {
    for (const thing of this.opened.reverse()) await (thing.stop ?? thing.leave).call(thing);
  }
}

async function runCase({ name, run }, browser, keycloak) {
  const world = new World(name, browser, keycloak);
  const started = Date.now();
  let timer;
  try {
    const late = new Promise((_, refuse) => {
      timer = setTimeout(() => refuse(new Error(`not done within ${CASE_MS_MAX / 1000} s`)), CASE_MS_MAX);
    });
    const remark = await Promise.race([run(world), late]);
    await world.close();
    return report(name, 'ok', started, remark);
  } catch (error) {
    await world.lastPictures();
    await world.close().catch(() => {});
    return report(name, 'FAILED', started, `${oneLine(error)} (${relative(root, join(scratch, 'runs', name))}, ${relative(root, join(screenshots, name))})`);
  } finally {
    clearTimeout(timer);
  }
}

function report(name, result, started, remark) {
  console.log(`  ${name} ... ${result} (${((Date.now() - started) / 1000).toFixed(1)} s)${remark ? `: ${remark}` : ''}`);
  return result === 'ok';
}

const ESCAPES = /\u001b\[[0-9;]*m/g;
const oneLine = (error) => String(error?.message ?? error).replace(ESCAPES, '').split('\n').map((line) => line.trim()).filter(Boolean).slice(0, 6).join(' | ');

async function runAll(wanted) {
  const results = [];
  const browser = await launch();
  for (const login of LOGINS) {
    const group = wanted.filter((one) => one.login === login);
    if (group.length === 0) continue;
    const started = Date.now();
    let keycloak;
    try {
      keycloak = login === 'local' ? undefined : await Keycloak.start(login);
    } catch (error) {
      group.forEach(({ name }) => results.push(report(name, 'FAILED', started, oneLine(error))));
      continue;
    }
    if (keycloak) console.log(`  (Keycloak ${login} started in ${((Date.now() - started) / 1000).toFixed(1)} s)`);
    for (const one of group) results.push(await runCase(one, browser, keycloak));
    await keycloak?.stop();
  }
  await browser.close();
  return results;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

for (const [what, file, remedy] of [
  ['the program', binary, 'run cargo build --release, or set SEKISHO_BIN'],
  ['the program with the conformance server', conformanceBinary, 'run e2e/build-conformance, or set SEKISHO_CONFORMANCE_BIN'],
  ['Chromium', chromium, 'install the Debian package chromium, or set E2E_CHROMIUM'],
]) {
  if (!existsSync(file)) {
    console.error(`${what} is not at ${file}: ${remedy}`);
    process.exit(1);
  }
}

const parts = process.argv.slice(2);
const wanted = cases.filter(({ name }) => parts.length === 0 || parts.some((part) => name.includes(part)));
const leftOut = cases.length - wanted.length;
rmSync(screenshots, { recursive: true, force: true });
mkdirSync(screenshots, { recursive: true });
const results = await runAll(wanted);
const passed = results.filter(Boolean).length;
if (leftOut > 0) console.log(`  (${leftOut} cases left out, as asked)`);
console.log(`screenshots: ${relative(root, screenshots)}`);
console.log(`${passed} passed, ${results.length - passed} failed`);
process.exit(passed === results.length && results.length > 0 ? 0 : 1);
