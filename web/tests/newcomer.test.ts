// The path of somebody who sees the console for the first time, from the first password to the calendar. Nothing is done by the API.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { Chromium } from './browser';
import { eventually, Team } from './team';

let team: Team;
let chromium: Chromium;
let port: number;

beforeAll(async () => {
  team = await Team.fresh();
  chromium = await Chromium.start();
  port = await team.service();
});

afterAll(async () => {
  await chromium?.stop();
  await team?.stop();
});

async function signIn(page: Page): Promise<void> {
  const file = join(team.dir, 'server/first-admin-password');
  await eventually('the first password is there', () => existsSync(file));
  const first = readFileSync(file, 'utf8').trim();
  await page.goto(team.url);
  await page.getByLabel('User').fill('admin');
  await page.getByLabel('Password').fill(first);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Choose a password' }).waitFor();
  await page.getByLabel('Present password').fill(first);
  await page.getByLabel('New password', { exact: true }).fill('a long pass phrase');
  await page.getByLabel('New password, again').fill('a long pass phrase');
  await page.getByRole('button', { name: 'Change the password' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
}

/** The line of the dialog, run on the new host. */
async function addHost(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Hosts', exact: true }).click();
  await page.getByText('No host has joined yet').waitFor();
  await page.getByRole('button', { name: 'Add a host' }).first().click();
  await page.getByRole('button', { name: 'Make the line' }).click();
  const line = await page.getByRole('region', { name: 'the line for the new host' }).innerText();
  const words = line.trim().split(/\s+/);
  expect(words[0]).toMatch(/squall$/);
  team.run('web-1', [...words.slice(words.indexOf('agent')), '--name', 'web-1']);
  await page.getByText('A host has joined.').waitFor();
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('link', { name: 'web-1' }).click();
  await page.getByRole('heading', { name: 'What it can do' }).waitFor();
  await page.getByText('linked', { exact: true }).waitFor();
}

/** Fills in what the experiment of the library wants to know, for the service of this test. */
async function fromLibrary(page: Page, lasts: string, steady: string): Promise<void> {
  await page.getByRole('link', { name: 'Library', exact: true }).click();
  await page.getByRole('searchbox').first().fill('hangs');
  await page.getByRole('link', { name: 'process-pause' }).first().click();
  const values: Record<string, string> = {
    process: 'node',
    port: String(port),
    url: `http://127.0.0.1:${port}/`,
    steady,
    for: lasts,
    recover: '10s',
  };
  for (const [name, value] of Object.entries(values)) await page.getByRole('textbox', { name: new RegExp(`^${name}\\b`) }).fill(value);
}

it('signs in, adds a host, runs an experiment of the library, stops it, reads what it found, and schedules it', async () => {
  const page = await chromium.page('light');
  await signIn(page);
  await addHost(page);
  await fromLibrary(page, '60s', '3s');
  await start(page);
  await page.getByText('in force, seen', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Stop everything' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Stop everything' }).click();
  await page.getByRole('dialog').getByText('web-1').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Close', exact: true }).last().click();
  await page.getByText('aborted', { exact: true }).first().waitFor();

  await fromLibrary(page, '4s', '3s');
  await start(page);
  await page.getByText('deviated', { exact: true }).first().waitFor({ timeout: 60_000 });
  const [report] = await Promise.all([page.context().waitForEvent('page'), page.getByRole('link', { name: 'Report' }).click()]);
  await report.getByRole('heading', { level: 1 }).first().waitFor();
  expect(await report.locator('body').innerText()).toContain('process-pause');
  await report.close();

  await page.getByRole('region', { name: 'Findings' }).getByRole('link').first().click();
  await page.getByRole('heading', { level: 1 }).filter({ hasText: 'process-pause' }).waitFor();
  await page.getByText('open', { exact: true }).first().waitFor();

  await schedule(page);
  expect(chromium.errors).toEqual([]);
});

/** What was run of the library is kept as one's own experiment, put on a schedule, and is in the calendar then. */
async function schedule(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Library', exact: true }).click();
  await page.getByRole('searchbox').first().fill('hangs');
  await page.getByRole('link', { name: 'process-pause' }).first().click();
  await page.getByRole('link', { name: 'Begin your own with it' }).click();
  await page.getByRole('button', { name: /^Save/ }).first().click();
  await page.getByText('Saved `process-pause`').waitFor();
  await page.getByRole('link', { name: 'Schedule', exact: true }).click();
  await page.getByRole('heading', { name: 'Next times' }).or(page.getByText(/Next/)).first().waitFor();
  await page.getByRole('button', { name: /^Save/ }).first().click();
  await page.getByRole('heading', { name: 'process-pause-weekly' }).waitFor();
  await page.getByRole('link', { name: 'Calendar', exact: true }).click();
  await page
    .getByText(/process-pause-weekly/)
    .first()
    .waitFor();
}

/** Looks at the plan, which names what would be touched, and starts. */
async function start(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Start…' }).click();
  const dialog = page.getByRole('dialog');
  await dialog
    .getByText(/node \(pid \d+\)/)
    .first()
    .waitFor();
  await dialog.getByRole('button', { name: /^Start/ }).click();
  await page.waitForURL(/\/runs\/r/, { timeout: 20_000 }).catch(async (error: unknown) => {
    throw new Error(`no run began: ${await dialog.innerText()}`, { cause: error });
  });
}
