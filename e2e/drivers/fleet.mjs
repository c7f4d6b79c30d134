// Several instances of the program on one PostgreSQL database, behind nginx, which sends each request to the next of them: no case
// knows of it. Nothing here listens beyond loopback, and all of it ends with the ring.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { instances, scratch, sekishoPort } from '../settings.mjs';
import { Child, mustBeFree } from './child.mjs';

const START_MS_MAX = 30_000;

/** Settings as written, for the instance of this number: another port, the database, the key and the name that all share. */
export function ofInstance(settings, number, database) {
  const [top, ...tables] = settings.split(/^(?=\[)/m);
  const publicUrl = top.match(/^public_url\s*=.*$/m)?.[0] ?? `public_url = "http://localhost:${sekishoPort}"`;
  const rest = top.replace(/^(public_url|listen|store|key_file|trusted_proxies)\s*=.*\n?/gm, '');
  return `${publicUrl}
listen = "127.0.0.1:${sekishoPort + number}"
store = "${database}"
key_file = "sekisho.key"
trusted_proxies = ["127.0.0.1/32"]
${rest}${tables.join('')}`;
}

/** The key that all instances share. */
export function writeKey(folder) {
  writeFileSync(join(folder, 'sekisho.key'), randomBytes(32).toString('hex'), { mode: 0o600 });
}

let postgres;
let databases = 0;

/** The URL of a new database; the first starts the server. */
export async function newDatabase() {
  postgres ??= await Postgres.start();
  databases += 1;
  postgres.ask(`CREATE DATABASE ring_${databases}`);
  return `postgres:///ring_${databases}?user=postgres&host=${postgres.folder}`;
}

class Postgres {
  static async start() {
    const programs = '/usr/lib/postgresql';
    const newest = existsSync(programs) && readdirSync(programs).sort((one, other) => other - one)[0];
    if (!newest) throw new Error('PostgreSQL is not installed: install the Debian package postgresql');
    const server = new Postgres();
    server.programs = join(programs, newest, 'bin');
    server.folder = mkdtempSync(join(tmpdir(), 'ring-postgres-'));
    const as = process.getuid() === 0 ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : ['env'];
    if (process.getuid() === 0) {
      const id = (which) => Number(execFileSync('id', [which, 'postgres']).toString());
      chownSync(server.folder, id('-u'), id('-g'));
    }
    chmodSync(server.folder, 0o700);
    const data = join(server.folder, 'data');
    const [command, ...args] = [...as, join(server.programs, 'initdb'), `--pgdata=${data}`, '--username=postgres', '--auth=trust', '--no-sync'];
    execFileSync(command, args, { cwd: '/', stdio: 'ignore' });
    const [runner, ...words] = [...as, join(server.programs, 'postgres'), '-D', data, '-k', server.folder, '-c', 'listen_addresses=', '-c', 'fsync=off', '-c', 'max_connections=300'];
    server.child = new Child('postgres', runner, words, { cwd: '/', env: process.env, log: join(scratch, 'logs', 'postgres.log') });
    process.on('exit', () => rmSync(server.folder, { recursive: true, force: true }));
    await server.child.printed(/ready to accept connections/, START_MS_MAX);
    return server;
  }

  ask(statement) {
    execFileSync(join(this.programs, 'psql'), ['-q', '-h', this.folder, '-U', 'postgres', '-c', statement], { cwd: '/', stdio: 'ignore' });
  }
}

/** What stands before the instances: the next one gets the next request, whoever sends it. */
export async function startNginx(folder) {
  await mustBeFree(sekishoPort, 'nginx', 'E2E_PORT');
  const place = join(folder, 'nginx');
  mkdirSync(place, { recursive: true });
  const servers = Array.from({ length: instances }, (_, number) => `server 127.0.0.1:${sekishoPort + number + 1};`).join(' ');
  writeFileSync(
    join(place, 'nginx.conf'),
    `daemon off; master_process off; worker_processes 1; pid ${place}/pid; error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${place}/${name};`).join(' ')}
  upstream sekisho { ${servers} keepalive 64; }
  server {
    listen 127.0.0.1:${sekishoPort};
    listen [::1]:${sekishoPort};
    client_max_body_size 8m;
    location / {
      proxy_pass http://sekisho;
      proxy_http_version 1.1;
      proxy_set_header Host              $http_host;
      proxy_set_header Connection        "";
      proxy_set_header X-Forwarded-For   $remote_addr;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 1h;
    }
  }
}
`,
  );
  const nginx = new Child('nginx', '/usr/sbin/nginx', ['-p', place, '-c', join(place, 'nginx.conf')], {
    cwd: place,
    env: process.env,
    log: join(folder, 'nginx.log'),
  });
  await nginx.printed(/start worker process|nginx\/\d/, START_MS_MAX);
  return nginx;
}
