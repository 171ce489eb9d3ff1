// Every page in light, dark and narrow: as it looked when somebody last looked at it, and without serious barriers.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { barriers, Chromium, open, settled, type Look } from './browser';
import { compare } from './compare';
import { eventually, pause, Team } from './team';

let team: Team;
let chromium: Chromium;
/** Name of the picture, path, and what is done before it is taken. */
const pages: [string, string][] = [];

beforeAll(async () => {
  team = await Team.start();
  chromium = await Chromium.start();
  await team.join({ name: 'web-1', labels: { zone: 'a', role: 'web' } }, { name: 'db-1', labels: { zone: 'b', role: 'db' } });
  const port = await team.service();
  const held = await team.begin(pause('shop-hangs', port, '1500ms', '5s'));
  await team.ended(held);
  const deviated = await team.begin(pause('shop-hangs-and-is-noticed', port, '2s'));
  const { verdict } = await team.ended(deviated);
  if (verdict !== 'deviated') throw new Error(await team.api<string>('GET', `/runs/${deviated}/report?format=md`));
  const finding = await eventually(
    'a finding is there',
    async () => (await team.api<{ items: { id: string }[] }>('GET', '/findings')).items[0]?.id,
  );
  await team.api('PUT', '/experiments/shop-hangs', { manifest: pause('shop-hangs', port, '2s', '5s') });
  await team.api('PUT', '/schedules/nightly', {
    schedule: `apiVersion: squall.dev/v1
kind: Schedule
metadata: { name: nightly }
spec:
  experiment: shop-hangs
  cron: "30 2 * * mon-fri"
  timeZone: Europe/Berlin
`,
  });
  await team.api('PUT', '/experiments/shop-hangs', { manifest: pause('shop-hangs', port, '3s', '5s') });
  const room = await planned();
  pages.push(
    ['overview', '/'],
    ['runs', '/runs'],
    ['run', `/runs/${deviated}`],
    ['hosts', '/hosts'],
    ['host', '/hosts/web-1'],
    ['library', '/library'],
    ['library-entry', '/library/process-pause'],
    ['experiments', '/experiments'],
    ['experiment', '/experiments/shop-hangs'],
    ['experiment-versions', '/experiments/shop-hangs?tab=versions'],
    ['experiment-text', '/experiments/shop-hangs?view=text'],
    ['schedules', '/schedules'],
    ['schedule', '/schedules/nightly'],
    ['monkeys', '/monkeys'],
    ['monkey-new', '/monkeys/new'],
    ['calendar', '/calendar?view=month'],
    ['calendar-week', '/calendar?view=week'],
    ['calendar-agenda', '/calendar?view=agenda'],
    ['gamedays', '/gamedays'],
    ['gameday-new', '/gamedays/new'],
    ['gameday', room],
    ['findings', '/findings'],
    ['finding', `/findings/${encodeURIComponent(finding)}`],
    ['approvals', '/approvals'],
    ['policies', '/policies'],
    ['policy-new', '/policies/new'],
    ['audit', '/audit'],
    ['channels', '/channels'],
    ['channel-new', '/channels/new'],
    ['api', '/reference/api'],
    ['users', '/users'],
    ['tokens', '/tokens'],
    ['account', '/account'],
    ['missing', '/nothing-is-here'],
  );
});

/** A game day that has begun; gives the path of its room. */
async function planned(): Promise<string> {
  const page = await chromium.page('light', team);
  await open(page, team, '/gamedays/new');
  await page.getByLabel('Title').first().fill('Rehearsal');
  await page.getByLabel('Title').nth(1).fill('The shop hangs');
  await page.getByRole('button', { name: 'Save the plan' }).click();
  await page.waitForURL((url) => /^\/gamedays\/(?!new)/.test(url.pathname));
  await page.getByRole('button', { name: 'Begin' }).click();
  await page.getByText('The game day began').first().waitFor();
  const { pathname } = new URL(page.url());
  await page.context().close();
  return pathname;
}

afterAll(async () => {
  await chromium?.stop();
  await team?.stop();
});

describe.each<Look>(['light', 'dark', 'narrow'])('in %s', (look) => {
  it('every page looks as it was accepted, fits its width, and has no serious barrier', async () => {
    const page = await chromium.page(look, team);
    const wrong: string[] = [];
    for (const [name, path] of pages) {
      await open(page, team, path);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (overflow > 0) wrong.push(`${name}: ${overflow} px wider than the screen`);
      wrong.push(...(await barriers(page)).map((one) => `${name}: ${one}`));
      const difference = await compare(page, `${name}-${look}`);
      if (difference) wrong.push(difference);
    }
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it('so does what opens over a page', async () => {
    const page = await chromium.page(look, team);
    const wrong: string[] = [];
    const seen = async (name: string): Promise<void> => {
      await page.getByRole('dialog').waitFor();
      await settled(page);
      wrong.push(...(await barriers(page)).map((one) => `${name}: ${one}`));
      const difference = await compare(page, `${name}-${look}`);
      if (difference) wrong.push(difference);
      await page.keyboard.press('Escape');
      await page.getByRole('dialog').waitFor({ state: 'detached' });
    };
    await open(page, team, '/hosts');
    await page.getByRole('button', { name: 'Stop everything' }).click();
    await seen('over-red-button');
    await page.getByRole('button', { name: 'Add a host' }).click();
    await seen('over-add-host');
    await page.locator('h1').click();
    await page.keyboard.press('?');
    await seen('over-keys');
    await open(page, team, '/library/process-pause');
    await page.getByRole('button', { name: 'Start…' }).click();
    await page.getByText('would be refused').waitFor();
    await seen('over-start');
    if (look === 'narrow') {
      await page.getByRole('button', { name: 'Navigation', exact: true }).click();
      await page.getByRole('link', { name: 'Hosts', exact: true }).waitFor();
      wrong.push(...(await barriers(page)));
      wrong.push(...[await compare(page, 'over-drawer-narrow')].filter((one) => one !== undefined));
      await page.keyboard.press('Escape');
      await page.getByRole('link', { name: 'Hosts', exact: true }).waitFor({ state: 'hidden' });
    }
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it('so does the login', async () => {
    const page = await chromium.page(look);
    await page.goto(`${team.url}/runs`);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await settled(page);
    expect(await barriers(page)).toEqual([]);
    expect(await compare(page, `login-${look}`)).toBeUndefined();
    await page.context().close();
  });
});

it('no page made an error, broke the policy or asked for something outside', () => {
  expect(chromium.errors).toEqual([]);
});
