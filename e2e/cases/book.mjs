// Guides whose commands need more than the program: done here to the letter, with the settings as they stand on the page.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Child, mustBeFree } from '../drivers/child.mjs';
import { accessToken, callFortune } from '../drivers/native_client.mjs';
import { Sekisho } from '../drivers/sekisho.mjs';
import { binary, keycloakUrl, publicUrl, root, sekishoPort, upstreamPort } from '../settings.mjs';
import { must, mustBeAFortune } from './must.mjs';

const run = promisify(execFile);
const page = (name) => readFileSync(join(root, 'docs', name), 'utf8');

/** Without settings: the ring's own variable is none of the program's. */
const environment = (more) => ({ ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SEKISHO_'))), ...more });

/** The block of a page that is to become a file. */
const file = (text, name) => text.split(`<!-- file: ${name} -->\n`)[1].replace(/^```.*\n/, '').split('\n```')[0];

/** nginx as the page has it, with a certificate of its own authority, in front of the program; and `doctor` through it. */
const nginx = async (world) => {
  const guide = page('guides/behind-a-proxy.md');
  const host = `localhost:${upstreamPort}`;
  const settings = file(guide, 'sekisho.toml').replace('https://mcp.example.com', `https://${host}`);
  const sekisho = new Sekisho(world.name, `listen = "127.0.0.1:${sekishoPort}"\n${settings}`);
  const [certificate, key] = ['certificate.pem', 'certificate.key'].map((name) => join(sekisho.folder, name));
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', key, '-out', certificate]);
  sekisho.env = { SSL_CERT_FILE: certificate };
  world.until(sekisho);
  await sekisho.start();

  await mustBeFree(upstreamPort, 'nginx', 'E2E_UPSTREAM_PORT');
  const server = file(guide, 'mcp.conf')
    .replace('listen 443 ssl', `listen 127.0.0.1:${upstreamPort} ssl`)
    .replace('mcp.example.com;', 'localhost;')
    .replace('/etc/ssl/mcp.example.com.pem', certificate)
    .replace('/etc/ssl/mcp.example.com.key', key)
    .replace('127.0.0.1:8000', `127.0.0.1:${sekishoPort}`);
  const main = `worker_processes 1; daemon off; pid nginx.pid; error_log stderr notice; events {}
http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
${server}
}`;
  writeFileSync(join(sekisho.folder, 'nginx.conf'), main);
  const proxy = new Child('nginx', 'nginx', ['-p', sekisho.folder, '-c', 'nginx.conf'], { cwd: sekisho.folder, log: join(sekisho.folder, 'nginx.log') });
  world.until({ stop: () => proxy.stop() });
  await proxy.printed(/start worker process/, 10_000);

  const doctor = ['doctor', '--patient', '--json', '--config', sekisho.settings];
  const env = environment({ SSL_CERT_FILE: certificate });
  const { stdout } = await run(binary, doctor, { cwd: sekisho.folder, env }).catch((error) => error);
  const { findings } = JSON.parse(stdout);
  // Of the settings it may find that this checkout is in a folder that is emptied.
  const wrong = findings.filter((one) => one.state !== 'ok' && one.about !== 'settings');
  must(wrong.length === 0, `through nginx as the guide has it, doctor finds: ${JSON.stringify(wrong)}`);
  must(findings.some((one) => one.about === 'stream' && one.state === 'ok'), 'doctor did not look at streams');
  return `${findings.length} findings through ${host}`;
};

/** Keycloak as the guide has it: what `bootstrap` makes there is all that a login needs. */
const keycloak = async (world) => {
  const settings = file(page('guides/keycloak.md'), 'sekisho.toml').replace('http://localhost:8000', publicUrl).replace('http://localhost:8080', keycloakUrl);
  const sekisho = new Sekisho(world.name, `listen = "127.0.0.1:${sekishoPort}"\n${settings}`);
  // The one that the other cases know.
  writeFileSync(join(sekisho.folder, 'client.secret'), world.keycloak.client.secret, { mode: 0o600 });
  for (const { id } of await world.keycloak.administer('GET', 'clients?clientId=mcp')) await world.keycloak.administer('DELETE', `clients/${id}`);

  const { username, password } = world.keycloak.admin;
  const env = environment({ KC_BOOTSTRAP_ADMIN_USERNAME: username, KC_BOOTSTRAP_ADMIN_PASSWORD: password });
  const ask = (...words) => run(binary, [...words, '--config', sekisho.settings], { cwd: sekisho.folder, env });
  must((await ask('keycloak', 'bootstrap', '--apply')).stdout.includes('mcp'), 'bootstrap made no client mcp');
  world.until(sekisho);
  await sekisho.start();
  const { stdout } = await ask('doctor').catch((error) => error);
  must(!stdout.includes('problem '), `doctor finds: ${stdout}`);
  mustBeAFortune(await callFortune(await accessToken(world, world.keycloak.person, 'fortune')));
};

export const cases = [
  { name: 'the-guide-to-nginx-is-true', login: 'local', run: nginx },
  { name: 'the-guide-to-keycloak-is-true', login: '26.7.0', run: keycloak },
];
