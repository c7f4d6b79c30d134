// `sekisho doctor` before a real Keycloak: it finds nothing where all is right, and names what is wrong with our client there.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { publicUrl } from '../settings.mjs';
import { must, mustBe } from './must.mjs';

const DONE_MS_MAX = 60_000;

/** Its exit code, and what it found. */
function examine(sekisho, ...more) {
  return new Promise((done, refuse) => {
    const args = ['doctor', '--json', '--config', sekisho.settings, ...more];
    execFile(sekisho.program, args, { cwd: sekisho.folder, env: { PATH: process.env.PATH }, timeout: DONE_MS_MAX }, (error, stdout, stderr) => {
      const code = error ? error.code : 0;
      try {
        done({ code, ...JSON.parse(stdout) });
      } catch {
        refuse(new Error(`doctor printed no JSON (${code}): ${stdout}${stderr}`));
      }
    });
  });
}

const problems = ({ findings }) => findings.filter(({ state }) => state === 'problem');

async function doctoring(world) {
  const sekisho = await world.sekisho();
  const good = await examine(sekisho, '--patient');
  mustBe('the exit code', good.code, 0);
  mustBe('what is wrong', JSON.stringify(problems(good)), '[]');
  for (const about of ['store', 'public_url', 'metadata', 'server fortune', 'stream', 'identity provider', 'upstream of fortune']) {
    must(good.findings.some((finding) => finding.about === about && finding.state === 'ok'), `nothing good is said of ${about}`);
  }

  const secret = join(sekisho.folder, 'client.secret');
  writeFileSync(secret, 'another secret\n');
  const wrong = await examine(sekisho);
  mustBe('the exit code with a wrong secret', wrong.code, 1);
  const [refused, ...others] = problems(wrong);
  mustBe('what else is wrong', JSON.stringify(others), '[]');
  must(refused.what.startsWith('it does not take our client_id and client_secret'), `it says ${refused.what}`);
  writeFileSync(secret, `${world.keycloak.client.secret}\n`);

  const [client] = await world.keycloak.administer('GET', `clients?clientId=${world.keycloak.client.id}`);
  const change = (redirectUris) => world.keycloak.administer('PUT', `clients/${client.id}`, { ...client, redirectUris });
  await change(['https://elsewhere.example/auth/callback']);
  try {
    const unregistered = await examine(sekisho);
    mustBe('the exit code with another redirect URI', unregistered.code, 1);
    const [unknown, ...more] = problems(unregistered);
    mustBe('what more is wrong', JSON.stringify(more), '[]');
    mustBe('what it says', unknown.what, `it does not know our redirect URI ${publicUrl}/auth/callback`);
  } finally {
    await change(client.redirectUris);
  }
  return `${good.findings.length} findings`;
}

export const cases = ['26.1.0', '26.7.0'].map((login) => ({ name: `doctor-keycloak-${login}`, login, run: doctoring }));
