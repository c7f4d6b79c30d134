// The built binary, started in a folder of its own with the settings of the guides; it can be killed and started again on the same store.
// With E2E_INSTANCES it is that many of it behind nginx, of which a kill takes one.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary, instances, metricsPorts, publicUrl, scratch, sekishoPort } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';
import { newDatabase, ofInstance, startNginx, writeKey } from './fleet.mjs';

const START_MS_MAX = 15_000;

export class Sekisho {
  /** With nothing configured but the port: the built-in tool and the `local` provider, whose password it prints. */
  static async startWithLocalLogin(name, more = '', env = {}, program = binary) {
    const sekisho = new Sekisho(name, `listen = "127.0.0.1:${sekishoPort}"\n${more}`);
    sekisho.env = env;
    sekisho.program = program;
    await sekisho.start();
    // Where somebody else logs people in there is no account.
    if (!/^\[identity\]/m.test(more)) sekisho.person = { username: 'demo', password: printedPassword(sekisho.child.output) };
    return sekisho;
  }

  static async startWithKeycloak(name, keycloak, identity = {}, upstream = '{ builtin = "fortune" }', env = {}, files = {}) {
    const sekisho = new Sekisho(
      name,
      `public_url = "${publicUrl}"
listen     = "127.0.0.1:${sekishoPort}"
store      = "sqlite:sekisho.db"
key_file   = "sekisho.key"

[identity]
provider           = "keycloak"
issuer             = "${keycloak.issuer}"
client_id          = "${keycloak.client.id}"
client_secret_file = "client.secret"
${Object.entries(identity).map(([setting, value]) => `${setting} = "${value}"\n`).join('')}
[[server]]
name     = "fortune"
path     = "/"
scopes   = ["fortune"]
upstream = ${upstream}
`,
    );
    sekisho.env = env;
    for (const [file, text] of Object.entries(files)) writeFileSync(join(sekisho.folder, file), text);
    writeFileSync(join(sekisho.folder, 'client.secret'), `${keycloak.client.secret}\n`, { mode: 0o600 });
    await sekisho.start();
    sekisho.person = keycloak.person;
    return sekisho;
  }

  /** Trusting Keycloak's tokens and issuing none; `more` are more settings of the table `authorization`. */
  static async startExternal(name, keycloak, more = '') {
    const sekisho = new Sekisho(
      name,
      `public_url = "${publicUrl}"
listen     = "127.0.0.1:${sekishoPort}"

[authorization]
mode   = "external"
issuer = "${keycloak.issuer}"
${more}`,
    );
    await sekisho.start();
    sekisho.person = keycloak.person;
    return sekisho;
  }

  constructor(name, settings) {
    this.program = binary;
    this.folder = join(scratch, 'runs', name);
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
    this.settings = join(this.folder, 'sekisho.toml');
    this.written = settings;
    writeFileSync(this.settings, settings);
  }

  /** Whether there may be several: where no token is issued here, there is no store by which they could find each other. */
  get isFleet() {
    return instances > 1 && !/^mode\s*=\s*"external"/m.test(this.written);
  }

  async start() {
    if (this.isFleet) return this.startFleet();
    await mustBeFree(sekishoPort, 'sekisho', 'E2E_PORT');
    this.child = this.begin(this.settings);
    await this.child.printed(/^listening on http:\/\/\S+/m, START_MS_MAX);
  }

  /** All instances and nginx; or, after a kill, the one that is missing. */
  async startFleet() {
    if (!this.running) {
      const database = await newDatabase();
      writeKey(this.folder);
      this.running = Array.from({ length: instances }, (_, index) => {
        const settings = index === 0 ? this.settings : join(this.folder, `sekisho-${index + 1}.toml`);
        writeFileSync(settings, ofInstance(this.written, index + 1, database));
        const env = this.env?.SEKISHO_METRICS_LISTEN ? { SEKISHO_METRICS_LISTEN: `127.0.0.1:${metricsPorts[index]}` } : {};
        return { settings, env };
      });
      this.child = { output: '' };
    }
    try {
      for (const one of this.running.filter(({ child }) => !child || child.ended)) {
        one.child = this.begin(one.settings, one.env);
        for (const stream of [one.child.process.stdout, one.child.process.stderr]) stream.on('data', (text) => (this.child.output += text));
        await one.child.printed(/^listening on http:\/\/\S+/m, START_MS_MAX);
      }
      this.nginx ??= await startNginx(this.folder);
    } catch (error) {
      // Whoever asked for them has nothing yet that could be stopped.
      await this.stop();
      throw error;
    }
  }

  begin(settings, env = {}) {
    const ours = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SEKISHO_')));
    return new Child('sekisho', this.program, ['serve', '--config', settings], {
      cwd: this.folder,
      env: { ...ours, NO_COLOR: '1', ...this.env, ...env },
      log: join(this.folder, 'sekisho.log'),
    });
  }

  /** Of several, the next one in turn. */
  kill9() {
    if (!this.isFleet) return this.child.kill9();
    this.killed = ((this.killed ?? -1) + 1) % instances;
    return this.running[this.killed].child.kill9();
  }

  async stop() {
    if (this.isFleet) {
      await this.nginx?.stop();
      const ended = await Promise.all(this.running.map(({ child }) => child?.stop() ?? true));
      if (ended.includes(false)) throw new Error('an instance of sekisho did not end within 10 s of SIGTERM');
      return;
    }
    if (!(await this.child.stop())) throw new Error('sekisho did not end within 10 s of SIGTERM');
  }
}

/** The first start says, once, how `demo` logs in. */
function printedPassword(output) {
  const found = output.match(/password(?:\s+(?:for|of)\s+\S+)?(?:\s+is)?\W+([\w-]{8,})/i);
  if (!found) throw new Error(`the first start printed no password for demo: ${output.trim()}`);
  return found[1];
}
