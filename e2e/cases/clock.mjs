// A clock that is set while the program runs (libfaketime): back an hour, ahead a year, and right again. Only the time of day is set;
// the time that waits are measured by goes on as ever, as it does when an operator or NTP sets the clock.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { scratch } from '../settings.mjs';
import { NativeClient, callFortune, statusOf, statusOnceOut } from '../drivers/native_client.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

/** How often libfaketime looks whether the clock was set, in seconds. */
const LOOKS_EVERY_S = 1;
const CLOCK = join(scratch, 'clock');

async function clockIsSet(world) {
  await setClock('+0');
  const sekisho = await world.sekisho('', {
    LD_PRELOAD: libfaketime(),
    FAKETIME_TIMESTAMP_FILE: CLOCK,
    FAKETIME_CACHE_DURATION: String(LOOKS_EVERY_S),
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  });
  const client = world.until(await NativeClient.register('Outside ring'));
  const person = await world.person();
  const begin = async () => {
    const attempt = client.begin();
    await person.page.goto(attempt.url);
    await person.approve();
    await person.page.locator('[name=username]').waitFor();
    return attempt;
  };
  const finish = async (attempt) => {
    await person.logIn(sekisho.person);
    const tokens = await client.redeem((await client.arrival()).get('code'), attempt);
    mustBe('the status of /token', tokens.status, 200);
    return tokens;
  };

  const kept = await finish(await begin());
  const ended = await finish(await begin());
  mustBe('the status of /revoke', await client.revoke(ended.refresh_token), 200);
  const onItsWay = await begin();

  await setClock('-1h');
  mustBeAFortune(await callFortune(kept.access_token));
  mustBeAFortune(await callFortune((await finish(onItsWay)).access_token));
  mustBe('how far the program is ahead, in minutes (so this case can fail)', minutesAhead(sekisho), -60);
  await staysEnded(client, ended, 'an hour earlier');
  await begin();

  await setClock('+1y');
  mustBe('a token, a year later', await statusOf('/mcp', kept.access_token), 401);
  mustBe('its refresh token, a year later', (await client.refresh(kept.refresh_token)).error, 'invalid_grant');
  const answered = person.page.waitForResponse((answer) => answer.request().method() === 'POST');
  await person.logIn(sekisho.person);
  mustBe('the answer to a login form of a year ago', (await answered).status(), 400);
  mustBeAFortune(await callFortune((await finish(await begin())).access_token));
  await staysEnded(client, ended, 'a year later');

  await setClock('+0');
  await staysEnded(client, ended, 'when the clock is right again');
  mustBeAFortune(await callFortune((await finish(await begin())).access_token));
}

async function staysEnded(client, tokens, when) {
  mustBe(`a revoked token, ${when}`, await statusOnceOut('/mcp', tokens.access_token), 401);
  mustBe(`its refresh token, ${when}`, (await client.refresh(tokens.refresh_token)).error, 'invalid_grant');
}

/** By how much the program's clock is ahead, by the last line of its log. */
function minutesAhead({ child }) {
  const [last] = child.output.match(/^[\d-]+T[\d:.]+Z/gm).slice(-1);
  return Math.round((Date.parse(last) - Date.now()) / 60_000);
}

/** `offset` from the real time, as libfaketime writes it. */
async function setClock(offset) {
  mkdirSync(scratch, { recursive: true });
  writeFileSync(CLOCK, `${offset}\n`);
  await pause((LOOKS_EVERY_S + 1) * 1000);
}

function libfaketime() {
  const found = readdirSync('/usr/lib')
    .map((triplet) => join('/usr/lib', triplet, 'faketime', 'libfaketimeMT.so.1'))
    .find(existsSync);
  must(found, 'libfaketime is not installed: install the Debian package faketime');
  return found;
}

export const cases = [{ name: 'the-clock-is-set-back-and-forth', login: 'local', run: clockIsSet }];
