// What becomes of access when the person's session at Keycloak ends: by disabling them, by an administrator, by logging out; and that
// the end of the browser's own session alone costs nobody anything.
import { setTimeout as pause } from 'node:timers/promises';
import { keycloakUrl, publicUrl } from '../settings.mjs';
import { NativeClient, callFortune, statusOf } from '../drivers/native_client.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const RECHECK_S = 5;
// `identity.recheck`, and what docs/decisions/0011-provider-session.md says it may take beyond it.
const BOUND_MS = (RECHECK_S + 15) * 1000;
// What is told and not asked holds from the next request on.
const TOLD_MS = 2000;

/** A person of their own has let a client act for them; `knownBefore` if Keycloak knew their browser already. */
async function begin(world, { recheck = `${RECHECK_S}s`, knownBefore = false } = {}) {
  const who = await world.keycloak.newPerson(`person-${serial++}`);
  await world.sekisho({ recheck });
  const client = world.until(await NativeClient.register('Outside ring'));
  const person = await world.person();
  if (knownBefore) await logInAtTheAccountConsole(person, who);
  const scene = { who, client, person };
  scene.tokens = await signIn(scene, { isKnown: knownBefore });
  return scene;
}

let serial = 1;

/** Begins a session of the browser at Keycloak that has nothing to do with us. */
async function logInAtTheAccountConsole(person, who) {
  await person.page.goto(`${keycloakUrl}/realms/master/account`);
  await person.logIn(who);
  await person.page.waitForURL((url) => url.pathname.startsWith('/realms/master/account'));
  await person.page.waitForLoadState('networkidle');
}

async function signIn({ who, client, person }, { isKnown = false } = {}) {
  const attempt = client.begin();
  person.asked.length = 0;
  await person.page.goto(attempt.url);
  await person.approve();
  if (!isKnown) await person.logInAtKeycloak(who);
  const tokens = await client.redeem((await client.arrival()).get('code'), attempt);
  mustBe('the status of /token', tokens.status, 200);
  mustBeAFortune(await callFortune(tokens.access_token));
  return tokens;
}

/** How long access lasted from now on. */
async function untilOut(tokens, limitMs) {
  const began = Date.now();
  while (Date.now() - began < limitMs) {
    if ((await statusOf('/mcp', tokens.access_token)) === 401) return Date.now() - began;
    await pause(100);
  }
  throw new Error(`access lasted longer than ${limitMs / 1000} s`);
}

async function staysIn(tokens, ms) {
  await pause(ms);
  mustBeAFortune(await callFortune(tokens.access_token));
}

async function isOutForGood({ client, tokens }) {
  const refreshed = await client.refresh(tokens.refresh_token);
  mustBe('the error of a refresh', refreshed.error, 'invalid_grant');
}

async function disabling(world) {
  const scene = await begin(world);
  await staysIn(scene.tokens, 2 * RECHECK_S * 1000);
  await world.keycloak.administer('PUT', `users/${scene.who.id}`, { ...scene.who.found, enabled: false });
  const lasted = await untilOut(scene.tokens, BOUND_MS);
  await isOutForGood(scene);
  return `out after ${(lasted / 1000).toFixed(1)} s`;
}

async function endingInTheConsole(world) {
  const scene = await begin(world);
  const sessions = await world.keycloak.offlineSessions(scene.who);
  mustBe('sessions at Keycloak', sessions.length, 1);
  await world.keycloak.administer('DELETE', `sessions/${sessions[0].id}?isOffline=true`);
  const lasted = await untilOut(scene.tokens, BOUND_MS);
  await isOutForGood(scene);

  const again = { ...scene, tokens: await signIn(scene) };
  // Keycloak counts in whole seconds: a token of the very second of "sign out" is not older than it, and stays good.
  await pause(1100);
  await world.keycloak.administer('POST', `users/${scene.who.id}/logout`);
  const lastedAgain = await untilOut(again.tokens, BOUND_MS);
  await isOutForGood(again);
  return `out after ${(lasted / 1000).toFixed(1)} s, and after ${(lastedAgain / 1000).toFixed(1)} s`;
}

/** The person logs out of our page, is led through Keycloak's, and Keycloak tells us; nobody asks meanwhile. */
async function loggingOut(world) {
  const undo = await world.keycloak.changeClient({
    'backchannel.logout.url': `${publicUrl}/auth/logout`,
    'backchannel.logout.session.required': 'true',
    'post.logout.redirect.uris': `${publicUrl}/logout`,
  });
  try {
    const scene = await begin(world, { recheck: '1h', knownBefore: true });
    const { page } = scene.person;
    await page.goto(`${publicUrl}/logout`);
    await scene.person.picture('question');
    await page.locator('form[action="logout"] button').click();
    // Keycloak asks as well, since we held no proof of the login for it.
    await page.locator('#kc-logout').click();
    await page.waitForURL((url) => url.href.startsWith(`${publicUrl}/logout?`));
    await scene.person.picture('done');
    mustBe('forms on the last page', await page.locator('form').count(), 0);
    const lasted = await untilOut(scene.tokens, TOLD_MS);
    await isOutForGood(scene);
    return `out ${lasted} ms after the person saw that all is done`;
  } finally {
    await undo();
  }
}

async function endingInTheConsoleIsTold(world) {
  const undo = await world.keycloak.changeClient({
    'backchannel.logout.url': `${publicUrl}/auth/logout`,
    'backchannel.logout.session.required': 'true',
  });
  try {
    const scene = await begin(world, { recheck: '1h', knownBefore: true });
    const sessions = await world.keycloak.administer('GET', `users/${scene.who.id}/sessions`);
    mustBe('sessions of the browser', sessions.length, 1);
    await world.keycloak.administer('DELETE', `sessions/${sessions[0].id}`);
    const lasted = await untilOut(scene.tokens, TOLD_MS);
    await isOutForGood(scene);
    return `out after ${lasted} ms`;
  } finally {
    await undo();
  }
}

/** Half an hour by default; here it is seconds. */
async function idleBrowser(world) {
  const { ssoSessionIdleTimeout, ssoSessionMaxLifespan } = await world.keycloak.administer('GET', '');
  await world.keycloak.administer('PUT', '', { ssoSessionIdleTimeout: 8, ssoSessionMaxLifespan: 8 });
  try {
    const scene = await begin(world, { knownBefore: true });
    await staysIn(scene.tokens, 12_000);
    await signIn(scene); // and this fails unless Keycloak asks for the password again
    await staysIn(scene.tokens, 2 * RECHECK_S * 1000);
    const refreshed = await scene.client.refresh(scene.tokens.refresh_token);
    mustBe('the status of a refresh', refreshed.status, 200);
  } finally {
    await world.keycloak.administer('PUT', '', { ssoSessionIdleTimeout, ssoSessionMaxLifespan });
  }
}

export const cases = [
  ...['26.1.0', '26.7.0'].flatMap((login) => [
    { name: `a-person-disabled-at-keycloak-is-out-in-time-${login}`, login, run: disabling },
    { name: `a-session-ended-in-keycloaks-console-ends-access-in-time-${login}`, login, run: endingInTheConsole },
    { name: `a-logout-at-keycloak-ends-access-at-once-${login}`, login, run: loggingOut },
  ]),
  { name: 'a-session-ended-in-keycloaks-console-is-told-at-once', login: '26.1.0', run: endingInTheConsoleIsTold },
  { name: 'an-idle-browser-session-at-keycloak-ends-no-access', login: '26.1.0', run: idleBrowser },
];
