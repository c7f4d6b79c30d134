// The listener by itself: what tools that were made to break listeners make of ours, with TLS and without; a certificate from an authority
// that runs here; and a base path behind nginx.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join, relative } from 'node:path';
import { binary, h2spec, nginxPort, pebblePort, python, ring, root, scratch, sekishoPort } from '../settings.mjs';
import { Child, mustBeFree } from '../drivers/child.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const START_MS_MAX = 30_000;
const SLOW_CONNECTIONS = 200;
/** Each may take so long: what is slow must be ended before. */
const SLOW_SECONDS_MAX = 60;

/** Only this fails: what is no HTTP/2 is HTTP/1.1 to us, which has words for it (docs/tls.md). */
const H2SPEC_FAILS = 'Sends invalid connection preface';
/** What comes behind a request that is answered already is judged by nobody: a case may need luck to be faster than our answer, but not more. */
const H2SPEC_RUNS_MAX = 20;

/** Runs a command to its end, and answers all it said; the exit code does not matter. */
const said = (command, args, cwd) => new Promise((done) => execFile(command, args, { cwd, env: { PATH: process.env.PATH }, timeout: 150_000, maxBuffer: 16 << 20 }, (_, out, err) => done(`${out}${err}`)));

/** A key and a certificate for localhost, signed by itself, as `NAME.key` and `NAME.pem`. */
function certify(folder, name) {
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-keyout', `${name}.key`, '-out', `${name}.pem`, ...subject], { cwd: folder, stdio: 'ignore' });
}

/** The program with its own TLS, or without. */
async function listening(world, tls) {
  const folder = join(scratch, 'runs', world.name, tls ? 'tls' : 'plain');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  certify(folder, 'ours');
  const url = `${tls ? 'https' : 'http'}://localhost:${sekishoPort}`;
  const how = tls ? `tls.cert_file = "ours.pem"\ntls.key_file = "ours.key"\n` : '';
  return { folder, url, child: await serve(world, folder, `public_url = "${url}"\nlisten = "127.0.0.1:${sekishoPort}"\nstore = "memory:"\n${how}`) };
}

async function serve(world, folder, settings) {
  await mustBeFree(sekishoPort, 'sekisho', 'E2E_PORT');
  writeFileSync(join(folder, 'sekisho.toml'), settings);
  const child = world.until(new Child('sekisho', binary, ['serve'], { cwd: folder, env: { PATH: process.env.PATH, NO_COLOR: '1' }, log: join(folder, 'sekisho.log') }));
  await child.printed(/^listening on https?:\/\/\S+/m, START_MS_MAX);
  return child;
}

const is = (tls) => (tls ? 'with TLS' : 'without TLS');

async function http2(world) {
  if (!existsSync(h2spec)) throw new Error(`${relative(root, h2spec)} is not there: run e2e/install`);
  const remarks = [];
  for (const tls of [true, false]) {
    const { child, folder } = await listening(world, tls);
    let failed;
    let runs = 0;
    for (; runs < H2SPEC_RUNS_MAX && failed?.join() !== H2SPEC_FAILS; runs++) {
      const output = await said(h2spec, ['--host', 'localhost', '--port', String(sekishoPort), '--strict', '--path', '/healthz', '--timeout', '1', ...(tls ? ['--tls', '--insecure'] : [])], folder);
      writeFileSync(join(folder, `h2spec-${runs}.txt`), output);
      must(/\b146 tests, 1[34]\d passed/.test(output), output.trim().split('\n').at(-1));
      const [, failures = ''] = output.split('Failures:');
      const these = [...failures.matchAll(/× \d+: (.*)/g)].map(([, title]) => title.trim());
      failed = failed?.filter((title) => these.includes(title)) ?? these;
    }
    mustBe(`what always fails ${is(tls)}`, failed.join(' | '), H2SPEC_FAILS);
    remarks.push(`all but 2 of 146 ${is(tls)} in ${runs} runs`);
    await child.stop();
  }
  return remarks.join(', ');
}

async function slowClients(world) {
  const remarks = [];
  for (const tls of [true, false]) {
    const { child, folder, url } = await listening(world, tls);
    // A head, and then a body, that come 24 bytes at a time, every 5 seconds.
    const ways = { head: ['-H', '-u', `${url}/healthz`], body: ['-B', '-u', `${url}/token`] };
    const runs = Object.entries(ways).map(async ([what, args]) => {
      const how = ['-c', String(SLOW_CONNECTIONS), '-r', '100', '-i', '5', '-x', '24', '-p', '3', '-l', String(SLOW_SECONDS_MAX)];
      const output = (await said('slowhttptest', [...args, ...how], folder)).replace(/\u001b\[[0-9;]*[A-Za-z]/g, '');
      writeFileSync(join(folder, `slow-${what}.txt`), output);
      must(/Exit status:\s*No open connections left/.test(output), `a slow ${what} ${is(tls)}: ${output.trim().split('\n').slice(-4).join(' | ')}`);
      must(!/service available:\s*NO/.test(output), `a slow ${what} ${is(tls)} kept others out`);
      return `${what} ${is(tls)} ${output.match(/Test ended on (\d+)/)?.[1]} s`;
    });
    remarks.push(...(await Promise.all(runs)));
    await child.stop();
  }
  return remarks.join(', ');
}

/** What is at a URL whose certificate these authorities must have signed. */
const securely = (url, ca) => new Promise((done, refuse) => {
  request(url, { ca, servername: 'localhost' }, (answer) => {
    const certificate = answer.socket.getPeerCertificate().fingerprint256;
    let text = '';
    answer.setEncoding('utf8').on('data', (piece) => (text += piece)).on('end', () => done({ text, certificate }));
  }).on('error', refuse).end();
});

async function acme(world) {
  const folder = join(scratch, 'runs', world.name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  certify(folder, 'pebble');
  await mustBeFree(pebblePort, 'pebble', 'E2E_PEBBLE_PORT');
  const pebbleSettings = { listenAddress: `127.0.0.1:${pebblePort}`, managementListenAddress: `127.0.0.1:${pebblePort + 1}`, certificate: 'pebble.pem', privateKey: 'pebble.key', httpPort: 1, tlsPort: sekishoPort };
  writeFileSync(join(folder, 'pebble.json'), JSON.stringify({ pebble: pebbleSettings }));
  const env = { PATH: process.env.PATH, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '0' };
  const pebble = world.until(new Child('pebble', 'pebble', ['-config', 'pebble.json'], { cwd: folder, env, log: join(folder, 'pebble.log') }));
  await pebble.printed(/Listening on/, START_MS_MAX);
  const url = `https://localhost:${sekishoPort}`;
  const settings = `public_url = "${url}"
store = "memory:"

[tls.acme]
directory = "https://localhost:${pebblePort}/dir"
contact = ["ops@example.com"]
ca_file = "pebble.pem"
`;
  const first = await serve(world, folder, settings);
  await first.printed(/the certificate is at hand/, START_MS_MAX);
  const { text: roots } = await securely(`https://localhost:${pebblePort + 1}/roots/0`, readFileSync(join(folder, 'pebble.pem')));
  const { text, certificate } = await securely(`${url}/healthz`, roots);
  mustBe('the answer', text, 'ok\n');
  mustBe('the mode of the folder', (statSync(join(folder, 'acme')).mode & 0o777).toString(8), '700');

  // What it gave is kept: the next start needs nobody.
  await first.stop();
  await pebble.stop();
  const second = await serve(world, folder, settings);
  await second.printed(/the certificate is at hand/, START_MS_MAX);
  mustBe('the certificate', (await securely(`${url}/healthz`, roots)).certificate, certificate);
  must(!second.output.includes('no certificate could be had'), second.lastWords());
}

async function basePath(world) {
  const folder = join(scratch, 'runs', world.name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await mustBeFree(nginxPort, 'nginx', 'E2E_NGINX_PORT');
  const url = `http://localhost:${nginxPort}/tools`;
  const pass = `proxy_pass http://127.0.0.1:${sekishoPort}; proxy_set_header Host $http_host; proxy_buffering off; proxy_http_version 1.1; proxy_set_header X-Forwarded-For $remote_addr;`;
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; pid nginx.pid; error_log stderr notice; worker_processes 1;
events {}
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen 127.0.0.1:${nginxPort};
    location /tools/ { ${pass} }
    location ~ ^/\\.well-known/[^/]+/tools(/|$) { ${pass} }
  }
}
`,
  );
  const env = { PATH: `${process.env.PATH}:/usr/sbin` };
  const nginx = world.until(new Child('nginx', 'nginx', ['-p', folder, '-c', 'nginx.conf'], { cwd: folder, env, log: join(folder, 'nginx.log') }));
  await nginx.printed(/start worker process/, START_MS_MAX);
  const child = await serve(world, folder, `public_url = "${url}"\nlisten = "127.0.0.1:${sekishoPort}"\ntrusted_proxies = ["127.0.0.1"]\n`);
  const [, password] = child.output.match(/log in as demo, password (\S+)/);

  const examined = await said(binary, ['doctor', '--patient'], folder);
  must(!/^problem/m.test(examined), examined);
  for (const [transport, endpoint] of Object.entries({ http: '/mcp', sse: '/sse' })) {
    const client = world.until(
      new Child('the Python client', python, [join(ring, 'python_client.py'), '--url', `${url}${endpoint}`, '--transport', transport], {
        cwd: folder,
        log: join(folder, `python-${transport}.log`),
        env: { ...process.env, E2E_USERNAME: 'demo', E2E_PASSWORD: password },
      }),
    );
    const [line] = await client.printed(/^\{"answer".*\}$/m, 90_000);
    const { answer, iss } = JSON.parse(line);
    mustBeAFortune(answer);
    mustBe('iss', iss, url);
  }
}

export const cases = [
  { name: 'http2-by-h2spec', login: 'local', run: http2 },
  { name: 'slow-clients-by-slowhttptest', login: 'local', run: slowClients },
  { name: 'certificate-from-a-local-authority', login: 'local', run: acme },
  { name: 'base-path-behind-nginx', login: 'local', run: basePath },
];
