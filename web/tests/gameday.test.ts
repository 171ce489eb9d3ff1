// A game day with two people, and what becomes of a finding.

import { spawn } from 'node:child_process';

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';

import { Chromium, open } from './browser';
import { eventually, pause, Team } from './team';

let team: Team;
let chromium: Chromium;
let port: number;

beforeAll(async () => {
  team = await Team.start();
  chromium = await Chromium.start();
  await team.join({ name: 'web-1', labels: { zone: 'a' } });
  port = await team.service();
});

afterAll(async () => {
  await chromium?.stop();
  await team?.stop();
});

const timeline = (page: Page) => page.getByRole('region', { name: 'Timeline' });

/** How long until the other page shows it, in milliseconds. */
async function seen(page: Page, text: string, since: number): Promise<number> {
  await timeline(page).getByText(text).first().waitFor();
  return Date.now() - since;
}

it('two people see each other’s marks and notes within a second, and a restart of the server heals by itself', async () => {
  await team.api('PUT', '/experiments/shop-hangs', { manifest: pause('shop-hangs', port, '60s', '60s') });
  const [ada, bob] = [await chromium.page('light', team), await chromium.page('dark', team)];
  await open(ada, team, '/gamedays/new');
  await ada.getByLabel('Title').first().fill('Rehearsal');
  await ada.getByLabel('Title').nth(1).fill('The shop hangs');
  await ada.getByLabel('Experiment: kind').selectOption('saved');
  await ada.getByLabel('Saved').fill('shop-hangs');
  await ada.getByRole('button', { name: 'Save the plan' }).click();
  await ada.waitForURL((url) => /^\/gamedays\/(?!new)/.test(url.pathname));
  const path = new URL(ada.url()).pathname;
  await open(bob, team, path);
  await ada.getByRole('button', { name: 'Begin' }).click();
  expect(await seen(bob, 'The game day began', Date.now())).toBeLessThan(1000);
  await ada.getByRole('button', { name: 'Break it' }).click();
  await seen(ada, 'The fault is in force', 0);

  await ada.locator('h1').click();
  let pressed = Date.now();
  await ada.keyboard.press('d');
  expect(await seen(bob, 'Detected: The shop hangs', pressed)).toBeLessThan(1000);
  await bob.getByText(/by admin at .*, in time/).waitFor();

  await bob.keyboard.press('n');
  await bob.keyboard.type('the pager rang');
  pressed = Date.now();
  await bob.keyboard.press('Enter');
  expect(await seen(ada, 'the pager rang', pressed)).toBeLessThan(1000);

  await team.kill('server');
  await ada.getByText('not live: connecting again').waitFor();
  team.serve();
  await team.up();
  await ada.getByText('not live: connecting again').waitFor({ state: 'detached' });
  await bob.getByText('not live: connecting again').waitFor({ state: 'detached' });
  await bob.keyboard.press('Escape');
  await bob.locator('h1').click();
  pressed = Date.now();
  await bob.keyboard.press('r');
  expect(await seen(ada, 'Resolved: The shop hangs', pressed)).toBeLessThan(1000);
  // Nothing of before the restart is missing, and nothing is there twice.
  expect(await timeline(ada).getByText('the pager rang').count()).toBe(1);
  await seen(ada, 'Over: The shop hangs', 0);
  await ada.getByRole('button', { name: 'It is over' }).click();
  await seen(bob, 'The game day is over', 0);
  const report = await fetch(`${team.url}/api/v1${path}/report?format=md`, {
    headers: { cookie: `${team.cookie.name}=${team.cookie.value}` },
  });
  expect(await report.text()).toContain('the pager rang');
  await ada.context().close();
  await bob.context().close();
});

it('a finding is taken on, said to be fixed, and verified by a run that holds', async () => {
  const service = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  onTestFinished(() => void service.kill('SIGKILL'));
  const slow = `apiVersion: squall.dev/v1
kind: Experiment
metadata: { name: shop-is-slow, labels: { service: shop } }
spec:
  hypothesis:
    statement: The shop is awake.
    probes:
      - name: asleep
        command: { run: [sh, -c, "grep -q '^State:.T' /proc/${service.pid}/status && echo 1 || echo 0"], measure: number }
        expect: { lt: 1 }
        every: 100ms
  steady: { for: 500ms }
  method:
    - fault: process.pause
      target: { process: { pid: ${service.pid} } }
      for: 1500ms
  recovery: { within: 10s, stable: 500ms }
`;
  await team.api('PUT', '/experiments/shop-is-slow', { manifest: slow });
  const { run } = await team.api<{ run: string }>('POST', '/runs', { experiment: 'shop-is-slow', from: 'web-1' });
  expect((await team.ended(run)).verdict).toBe('deviated');
  const page = await chromium.page('light', team);
  await open(page, team, '/findings');
  const column = (name: string) => page.getByRole('region', { name, exact: true });
  await column('Open').getByRole('link').first().click();
  await page.getByRole('button', { name: 'Take it on' }).click();
  await page.getByLabel('What is to be done').fill('Answer from the cache');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByLabel('State of Answer from the cache').selectOption('done');
  await page.locator('li.closed').waitFor();
  await page.getByLabel('Runbook').fill('https://wiki.example/shop');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('link', { name: 'Open the runbook' }).waitFor();
  await page.getByRole('button', { name: 'It is fixed' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'It is fixed' }).click();
  // The cause is mended: the same experiment holds now.
  await team.api('PUT', '/experiments/shop-is-slow', { manifest: slow.replace('lt: 1 }', 'lt: 2 }') });
  await page.getByRole('button', { name: 'Run again to verify…' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Probes are asked from').selectOption('web-1');
  await dialog.getByRole('button', { name: 'Start the run' }).click();
  await page.waitForURL('**/runs/*');
  expect((await team.ended(new URL(page.url()).pathname.split('/').pop() ?? '')).verdict).toBe('held');
  await eventually('it is verified', async () => {
    const { items } = await team.api<{ items: { finding: { state: string } }[] }>('GET', '/findings');
    return items.some((item) => item.finding.state === 'verified');
  });
  await open(page, team, '/findings');
  await column('Verified').getByRole('link').first().waitFor();

  // Whatever people write about it is shown as text.
  const evil = '<img src=x onerror="window.hit=1">';
  const { items } = await team.api<{ items: { id: string }[] }>('GET', '/findings');
  await team.api('PATCH', `/findings/${items[0]?.id}`, { title: evil, notes: evil, tags: [evil], service: evil });
  for (const path of ['/findings', '/findings?view=list', `/findings/${items[0]?.id}`]) {
    await open(page, team, path);
    await page.getByText(evil).first().waitFor();
    expect(await page.evaluate(() => 'hit' in window || document.querySelector('img[src="x"]') !== null), path).toBe(false);
  }
  await page.context().close();
});

it('no page made an error, broke the policy or asked for something outside', () => {
  expect(chromium.errors).toEqual([]);
});
