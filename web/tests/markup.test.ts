// Markup in every text that a person can write: it is shown as text, everywhere.

import { afterAll, beforeAll, expect, it } from 'vitest';

import { Chromium, open } from './browser';
import { pause, Team } from './team';

/** Runs if anything of it is taken for markup. */
const EVIL = '<img src=x onerror=document.title=`owned`><script>document.title=`owned`</script><b id=owned>bold</b>';

let team: Team;
let chromium: Chromium;
let run: string;

beforeAll(async () => {
  team = await Team.start();
  chromium = await Chromium.start();
  await team.join({ name: 'web-1', labels: { evil: EVIL.slice(0, 60) } }).catch(() => team.join({ name: 'web-1', labels: { zone: 'a' } }));
  const port = await team.service();
  const quoted = JSON.stringify(EVIL);
  const manifest = pause('evil', port, '600ms', '1ms')
    .replace('labels: { service: shop }', `labels: { service: ${quoted}, "team": ${quoted} }`)
    .replace('statement: The shop answers quickly while one of its processes hangs.', `statement: ${quoted}`)
    .replaceAll('name: answer', `name: ${JSON.stringify(`answer ${EVIL}`)}`)
    .replace('name: it hangs', `name: ${JSON.stringify(`it hangs ${EVIL}`)}`)
    .replace('lt: 1ms', 'lt: 400ms')
    .replace('600ms', '1200ms');
  await team.api('PUT', '/experiments/evil', { manifest });
  run = await team.begin(manifest);
  await team.api('POST', `/runs/${run}/stop`, { reason: EVIL }).catch(() => {});
  await team.ended(run);
  await team
    .api('POST', '/users', { name: 'eve', password: 'a long pass phrase of eve', roles: ['viewer'], display: EVIL, email: EVIL })
    .catch(() => {});
  await team.api('POST', '/tokens', { name: EVIL }).catch(() => {});
  await team.api('POST', '/stop', { reason: EVIL, block: true });
});

afterAll(async () => {
  await chromium?.stop();
  await team?.stop();
});

it('is shown as text on every page, and runs nowhere', async () => {
  const page = await chromium.page('light', team);
  const paths = [
    '/',
    '/runs',
    `/runs/${run}`,
    '/hosts',
    '/hosts/web-1',
    '/experiments',
    '/experiments/evil',
    '/findings',
    '/audit',
    '/users',
    '/tokens',
    '/account',
    '/calendar',
    '/approvals',
    '/channels',
  ];
  let shown = 0;
  for (const path of paths) {
    await open(page, team, path);
    expect(await page.title(), path).not.toBe('owned');
    expect(await page.locator('#owned').count(), path).toBe(0);
    if ((await page.locator('body').innerText()).includes('<b id=owned>')) shown += 1;
  }
  // It is there to be seen: the stop's reason on every page, and more on that of the run.
  expect(shown).toBe(paths.length);
  await open(page, team, `/runs/${run}`);
  expect((await page.locator('main').innerText()).split('<script>').length).toBeGreaterThan(4);
  await page.context().close();
});

it('is no script in the report either, which has no rights of the console', async () => {
  const page = await chromium.page('light', team);
  const response = await page.goto(`${team.url}/api/v1/runs/${run}/report?format=html`);
  expect(response?.headers()['content-security-policy']).toContain('sandbox');
  expect(await page.title()).not.toBe('owned');
  expect(await page.locator('#owned').count()).toBe(0);
  await page.context().close();
});

it('finds no secret in the storage of the browser', async () => {
  const page = await chromium.page('light');
  await page.goto(team.url);
  await page.getByLabel('User').fill('admin');
  await page.getByLabel('Password').fill('a long pass phrase');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  const seen = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  expect(seen).toBe('[{},{},""]');
  expect(await page.evaluate(async () => (await indexedDB.databases()).length)).toBe(0);
  await page.context().close();
});

it('no page made an error, broke the policy or asked for something outside', () => {
  expect(chromium.errors).toEqual([]);
});
