// kill -9 in the middle of a login, and right after a token was issued: what was acknowledged is still there.
import { publicUrl } from '../settings.mjs';
import { NativeClient, callFortune, statusOf, statusOnceOut } from '../drivers/native_client.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

async function survivesKill9(world) {
  const sekisho = await world.sekisho();
  const client = world.until(await NativeClient.register('Outside ring'));
  const outcome = await killMidLogin(world, sekisho, client);
  await killAfterToken(world, sekisho, client);
  return outcome;
}

/** Approved, standing at Keycloak's login form, and the server dies and comes back. */
async function killMidLogin(world, sekisho, client) {
  const person = await world.person({ album: `${world.name}/mid-login` });
  const attempt = client.begin();
  await person.page.goto(attempt.url);
  await person.approve();
  await person.page.locator('#kc-login, [name=login]').first().waitFor();
  await sekisho.kill9();
  await sekisho.start();

  const callback = person.page.waitForResponse((answer) => answer.url().startsWith(`${publicUrl}/auth/callback`), { timeout: 20_000 });
  const [answer] = await Promise.all([callback, person.logInAtKeycloak(sekisho.person)]);
  if (answer.status() === 303 || answer.status() === 302) {
    const came = await client.arrival();
    const tokens = await client.redeem(came.get('code'), attempt);
    mustBe('the login went on, but /token', tokens.status, 200);
    mustBeAFortune(await callFortune(tokens.access_token));
    return 'the login went on';
  }
  await person.picture('page-after-kill');
  const { location, 'content-type': type = '' } = await answer.allHeaders();
  must(answer.status() >= 400 && answer.status() < 500, `the unfinished login was answered with ${answer.status()}`);
  must(type.startsWith('text/html') && location === undefined, `the unfinished login got ${type}, Location ${location}`);
  return `the unfinished login got a page, ${answer.status()}`;
}

/** The client registered before the first death logs in, gets its tokens, and the server dies before the tokens are used. */
async function killAfterToken(world, sekisho, client) {
  const person = await world.person({ album: `${world.name}/after-token` });
  const attempt = client.begin();
  await person.page.goto(attempt.url);
  await person.approve();
  await person.logInAtKeycloak(sekisho.person);
  const code = (await client.arrival()).get('code');
  const tokens = await client.redeem(code, attempt);
  await sekisho.kill9();
  mustBe('the status of /token', tokens.status, 200);
  await sekisho.start();

  mustBeAFortune(await callFortune(tokens.access_token));
  mustBe('the status of /sse with the token from before', await statusOf('/sse', tokens.access_token), 200);
  mustBe('the status of /mcp with a token that nobody issued', await statusOf('/mcp', `mcp_${'0'.repeat(64)}`), 401);

  if (tokens.refresh_token) {
    const renewed = await client.refresh(tokens.refresh_token);
    mustBe('the status of /token for the refresh token from before', renewed.status, 200);
    mustBeAFortune(await callFortune(renewed.access_token));
  }
  // That the code was spent is remembered too: its replay is refused, and costs what it bought.
  const replayed = await client.redeem(code, attempt);
  mustBe('the answer to a replayed code', `${replayed.status} ${replayed.error}`, '400 invalid_grant');
  mustBe('the status of /mcp after the replay', await statusOnceOut('/mcp', tokens.access_token), 401);
}

export const cases = [{ name: 'kill-9-mid-login-and-after-token', login: '26.1.0', run: survivesKill9 }];
