// Signing in by way of a company's provider, as people do it: a click, the provider's page, and back to where they wanted to be.

import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { barriers, Chromium, settled, type Look } from './browser';
import { compare } from './compare';
import { CLIENT, Provider } from './provider';
import { Team } from './team';

let team: Team;
let chromium: Chromium;
let provider: Provider;
const PASS = 'known to the provider alone';

beforeAll(async () => {
  provider = await Provider.start();
  const person = (sub: string, ...groups: string[]): void => void provider.people.set(sub, { password: PASS, claims: { groups } });
  person('grace', 'staff', 'sre');
  person('vera', 'staff');
  person('mallory', 'cooks');
  person('admin', 'sre');
  process.env['OIDC_SECRET'] = CLIENT.secret;
  team = await Team.start(`auth:
  oidc:
    - name: corp
      display: The Company
      issuer: ${provider.url}
      clientId: ${JSON.stringify(CLIENT.id)}
      clientSecret: { env: OIDC_SECRET }
      scopes: [profile, groups]
      roles:
        - { claim: groups, value: staff, roles: [viewer] }
        - { claim: groups, value: sre, roles: [operator] }
`);
  provider.redirect = `${team.url}/api/v1/session/oidc/corp/callback`;
  chromium = await Chromium.start();
  chromium.hosts.add('localhost');
});

afterAll(async () => {
  await chromium?.stop();
  await team?.stop();
  await provider?.stop();
});

/** From a page of the console to the provider's page. */
async function toProvider(page: Page, path: string): Promise<void> {
  await page.goto(`${team.url}${path}`);
  await page.getByRole('link', { name: 'The Company' }).click();
  await page.getByRole('heading', { name: 'The Company' }).waitFor();
  expect(page.url().startsWith(`${provider.url}/authorize?`)).toBe(true);
}

async function atProvider(page: Page, name: string, button = 'Continue'): Promise<void> {
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(PASS);
  await page.getByRole('button', { name: button }).click();
  await page.waitForURL((url) => url.origin === team.url);
}

async function signIn(page: Page, name: string, path: string): Promise<void> {
  await toProvider(page, path);
  await atProvider(page, name);
}

/** Where it is, without the server's own address. */
function place(page: Page): string {
  return page.url().slice(team.url.length);
}

/** What the page says of a login that led nowhere. */
async function told(page: Page): Promise<string> {
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  return page.getByRole('alert').innerText();
}

/** A request with the session of the page, as a script on it could send it. */
async function ask(page: Page, method: string, path: string): Promise<number> {
  return page.evaluate(
    async ([how, where]) => {
      const who = (await (await fetch('/api/v1/session')).json()) as { csrf?: string };
      const headers = { 'content-type': 'application/json', 'x-squall-csrf': who.csrf ?? '' };
      return (await fetch(`/api/v1${where}`, { method: how, headers, ...(how === 'GET' ? {} : { body: '{}' }) })).status;
    },
    [method, path] as const,
  );
}

async function sessionCookie(context: BrowserContext): Promise<{ name: string; value: string } | undefined> {
  return (await context.cookies(team.url)).find(({ name }) => name === 'squall-session');
}

it('leads back to the page that was asked for, signed in with the role of a group', async () => {
  const page = await chromium.page();
  await page.goto(`${team.url}/library?search=hangs`);
  await page.getByRole('link', { name: 'The Company' }).waitFor();
  expect(await barriers(page)).toEqual([]);
  await toProvider(page, '/library?search=hangs');
  await page.getByLabel('Name').fill('grace');
  await page.getByLabel('Password').fill('not hers');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByText('That is wrong.').waitFor();
  await atProvider(page, 'grace');
  await page.getByRole('heading', { name: 'Library' }).waitFor();
  expect(place(page)).toBe('/library?search=hangs');
  expect(await page.getByRole('searchbox').first().inputValue()).toBe('hangs');
  await page.getByRole('link', { name: 'process-pause' }).first().waitFor();
  expect(await page.getByRole('button', { name: 'Stop everything' }).isEnabled()).toBe(true);

  await page.getByRole('link', { name: 'grace', exact: true }).click();
  await page.getByText(/You are grace, with the roles (viewer, operator|operator, viewer)/).waitFor();
  await page.getByText('You sign in by corp').waitFor();
  expect(await page.getByRole('button', { name: 'Change the password' }).count()).toBe(0);
  expect(await ask(page, 'POST', '/stop')).toBe(200);
  const { items } = await team.api<{ items: { name: string; provider?: string }[] }>('GET', '/users');
  expect(items.find(({ name }) => name === 'grace')?.provider).toBe('corp');
  expect([provider.redeemed, provider.wrong]).toEqual([1, []]);
  await page.context().close();
});

it('offers a viewer nothing that viewers may not do', async () => {
  const page = await chromium.page();
  await signIn(page, 'vera', '/experiments');
  await page.getByRole('heading', { name: 'Experiments' }).waitFor();
  await settled(page);
  const red = page.getByRole('button', { name: 'Stop everything' });
  expect([await red.isDisabled(), await red.getAttribute('title')]).toEqual([true, 'Stopping needs the role operator']);
  expect(await page.getByRole('link', { name: 'New experiment' }).count()).toBe(0);
  const entries = await page.getByRole('navigation').getByRole('link').allInnerTexts();
  expect(entries).toContain('Runs');
  expect(entries).not.toContain('Users');
  await page.goto(`${team.url}/users`);
  await page.getByRole('alert').getByText('Not allowed').waitFor();
  for (const [method, path] of [
    ['POST', '/stop'],
    ['GET', '/users'],
    ['POST', '/runs'],
  ] as const) {
    expect(await ask(page, method, path), path).toBe(403);
  }
  await page.context().close();
});

it('signs out for good', async () => {
  const page = await chromium.page();
  const context = page.context();
  await signIn(page, 'grace', '/runs');
  await page.getByRole('heading', { name: 'Runs' }).waitFor();
  const cookie = await sessionCookie(context);
  expect(cookie).toBeDefined();
  const kept = `${cookie?.name}=${cookie?.value}`;
  const whoami = (): Promise<Response> => fetch(`${team.url}/api/v1/session`, { headers: { cookie: kept } });
  expect((await whoami()).status).toBe(200);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  expect(await sessionCookie(context)).toBeUndefined();
  // Also for whoever had copied the cookie.
  expect((await whoami()).status).toBe(401);
  // Back to the provider's page, as far as the browser goes, and to the console again: nobody is signed in by that.
  await page.goBack();
  await page.goto(`${team.url}/hosts`);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  expect(await page.getByRole('button', { name: 'Stop everything' }).count()).toBe(0);
  await page.context().close();
});

it('says why a sign-in led nowhere, and lets one try again', async () => {
  const page = await chromium.page();
  await toProvider(page, '/library?search=hangs');
  await atProvider(page, '', 'Cancel');
  expect(await told(page)).toMatch(/cancelled at the provider.*\n*What to do: sign in again/s);
  expect(place(page)).toBe('/library?search=hangs');
  expect(await barriers(page)).toEqual([]);
  await page.reload();
  await page.getByRole('link', { name: 'The Company' }).waitFor();
  expect(await page.getByRole('alert').count()).toBe(0);

  await signIn(page, 'mallory', '/library?search=hangs');
  expect(await told(page)).toMatch(/none of your groups has a role here.*ask whoever looks after this server/s);
  expect(await sessionCookie(page.context())).toBeUndefined();

  await signIn(page, 'admin', '/');
  expect(await told(page)).toMatch(/already that of another user here.*ask an admin/s);

  provider.broken = true;
  await signIn(page, 'grace', '/');
  expect(await told(page)).toMatch(/the provider cannot be used just now.*try again/is);
  provider.broken = false;

  // A link from somewhere else, or a tab of yesterday.
  await page.goto(`${team.url}/api/v1/session/oidc/corp/callback?code=x&state=y`);
  expect(await told(page)).toMatch(/begun in another browser.*sign in again/s);

  await page.getByRole('link', { name: 'The Company' }).click();
  await atProvider(page, 'grace');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(await page.getByRole('alert').count()).toBe(0);
  await page.context().close();
});

it('tells whoever is signed in already without signing them out', async () => {
  const page = await chromium.page();
  await signIn(page, 'grace', '/runs');
  await page.getByRole('heading', { name: 'Runs' }).waitFor();
  await page.goto(`${team.url}/api/v1/session/oidc/corp/callback?error=access_denied&state=y`);
  await page.getByRole('log').getByText('the sign-in was begun in another browser').waitFor();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(place(page)).toBe('/');
  await page.context().close();
});

it('signs in by password on the same page', async () => {
  const page = await chromium.page();
  await page.goto(`${team.url}/?refused=declined`);
  await told(page);
  await page.getByLabel('User').fill('admin');
  await page.getByLabel('Password').fill('a long pass phrase');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(await page.getByText('cancelled at the provider').count()).toBe(0);
  await page.context().close();
});

it('leaves nothing where a script could read it', async () => {
  const page = await chromium.page();
  const response = await page.goto(team.url);
  const policy = response?.headers()['content-security-policy'] ?? '';
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain('unsafe');
  await signIn(page, 'grace', '/');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await settled(page);
  const stored = await page.evaluate(async () => {
    const places = [{ ...localStorage }, { ...sessionStorage }, document.cookie, name, history.state];
    return JSON.stringify([...places, await indexedDB.databases(), await caches.keys()]);
  });
  expect(stored).toBe('[{},{},"","",null,[],[]]');
  // Neither the code nor the state is in the address, nor in what the page can learn of how it was loaded.
  const seen = await page.evaluate(() => [document.referrer, location.href, ...performance.getEntries().map(({ name: url }) => url)]);
  expect(seen.filter((url) => /[?&](code|iss)=|callback/.test(url))).toEqual([]);
  const cookies = await page.context().cookies(team.url);
  expect(cookies.map(({ name: cookie, httpOnly, sameSite }) => [cookie, httpOnly, sameSite])).toEqual([['squall-session', true, 'Strict']]);
  await page.context().close();
});

describe.each<Look>(['light', 'dark', 'narrow'])('in %s', (look) => {
  it('the login with a provider looks as it was accepted, and so does what it says', async () => {
    const page = await chromium.page(look);
    for (const [name, path] of [
      ['login-provider', '/runs'],
      ['login-refused', '/runs?refused=no-role'],
    ] as const) {
      await page.goto(`${team.url}${path}`);
      await page.getByRole('link', { name: 'The Company' }).waitFor();
      await settled(page);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(overflow, name).toBe(0);
      expect(await barriers(page), name).toEqual([]);
      expect(await compare(page, `${name}-${look}`)).toBeUndefined();
    }
    await page.context().close();
  });
});

it('no page made an error, broke the policy or asked for something outside', () => {
  expect(chromium.errors).toEqual([]);
  expect(provider.wrong).toEqual([]);
});
