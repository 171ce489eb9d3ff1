// What is planned in the console: experiments in form and text, their versions, schedules, tokens, and words that are markup.

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Chromium, open, settled } from './browser';
import { eventually, pause, Team } from './team';

let team: Team;
let chromium: Chromium;
let port: number;

beforeAll(async () => {
  team = await Team.start();
  chromium = await Chromium.start();
  await team.join({ name: 'web-1', labels: { zone: 'a', role: 'web' } });
  port = await team.service();
});

afterAll(async () => {
  await chromium?.stop();
  await team?.stop();
});

const editor = (page: Page) => page.locator('.cm-content');
const written = async (page: Page) => (await editor(page).innerText()).replaceAll('\u00a0', ' ');
const offered = (page: Page) => page.locator('.cm-tooltip-autocomplete');
const mistakes = (page: Page) => page.getByRole('region', { name: 'Mistakes' });
const manifest = async (name: string) => (await team.api<{ manifest: string }>('GET', `/experiments/${name}`)).manifest;

describe('an experiment', () => {
  it('is begun with one of the library, its form and its text are one document, and saving keeps what it was', async () => {
    const page = await chromium.page('light', team);
    await open(page, team, '/library');
    await page.getByRole('searchbox').fill('hangs connections');
    await page.getByRole('link', { name: 'process-pause' }).click();
    await page.getByRole('link', { name: 'Begin your own with it' }).click();
    const name = page.getByLabel('Name', { exact: false }).first();
    await name.fill('my-own-pause');
    await page.getByRole('tab', { name: 'YAML' }).click();
    await editor(page).waitFor();
    const before = await written(page);
    expect(before).toContain('name: my-own-pause');
    // What the form has no field for, and what it does not touch, stays as it was written.
    expect(before).toMatch(/^# /m);
    expect(before).toContain('${');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.waitForURL('**/experiments/my-own-pause**');
    const saved = await manifest('my-own-pause');
    expect(saved).toContain('name: my-own-pause');

    await page.getByRole('tab', { name: 'Form' }).click();
    await page.getByLabel('Statement').fill('Users: get "answers" # all the time');
    await page.getByRole('button', { name: 'Save' }).click();
    await eventually('it is saved', async () => (await manifest('my-own-pause')).includes('all the time'));
    const changed = await manifest('my-own-pause');
    const lines = (text: string) => text.split('\n').length;
    expect(lines(changed)).toBe(lines(saved));

    await page.getByRole('tab', { name: 'Versions' }).click();
    await page.locator('.cm-deletedChunk').first().waitFor();
    expect(await page.locator('.cm-changedLine, .cm-insertedLine').first().innerText()).toContain('all the time');
    await page.getByRole('list', { name: 'Versions' }).getByRole('button').nth(1).click();
    await page.getByRole('button', { name: 'Take this text again' }).click();
    await page.getByRole('button', { name: 'Save' }).click();
    await eventually('the former text is back', async () => (await manifest('my-own-pause')) === saved);
    await page.context().close();
  });

  it('is written with help at every keystroke, and keys of the page stay in the editor', async () => {
    const page = await chromium.page('light', team);
    await team.api('PUT', '/experiments/typed', { manifest: pause('typed', port, '2s') });
    await open(page, team, '/experiments/typed?view=text');
    await editor(page).click();
    await page.keyboard.press('Control+End');
    await page.keyboard.type('  gua');
    await offered(page).getByText('guards').waitFor();
    await offered(page).getByText('guards').click();
    expect(await written(page)).toContain('guards: ');
    await page.keyboard.press('Enter');
    await page.keyboard.type('- probe: ');
    await offered(page).getByText('answer').waitFor();
    await page.keyboard.type('answer');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Enter');
    await page.keyboard.type('abort: { gt: 2s }');
    await page.getByRole('status').getByText('No mistakes').waitFor();
    await page.keyboard.press('Enter');
    await page.keyboard.type('unmeasurablee: ignore');
    await mistakes(page).getByText('unmeasurable').first().waitFor();
    await page.locator('.cm-lintRange-error').first().waitFor();
    await page.getByText('There is a plan once the mistakes').waitFor();
    await page.keyboard.type(' #?gr');
    expect(new URL(page.url()).pathname).toBe('/experiments/typed');
    expect(await page.locator('dialog[open]').count()).toBe(0);
    page.once('dialog', (dialog) => void dialog.accept());
    await page.context().close();
  });

  it('shows what it would touch before it touches anything, and starts from there', async () => {
    const page = await chromium.page('light', team);
    await team.api('PUT', '/experiments/planned', { manifest: pause('planned', port, '1s', '30s') });
    await team.api('PUT', '/policies/none', {
      policy: 'apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: none }\nspec: { denyFaults: [process.pause] }\n',
    });
    await open(page, team, '/experiments/planned');
    const plan = page.getByRole('region', { name: 'Plan' });
    await plan.getByText('SIGSTOP through a pidfd').waitFor();
    await plan.getByText('policy none').waitFor();
    await plan.getByText('would be refused').waitFor();
    await team.api('DELETE', '/policies/none');
    await page.getByRole('button', { name: 'Start…' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('may run').waitFor();
    await dialog.getByRole('button', { name: 'Start the run' }).click();
    await page.waitForURL('**/runs/*');
    const run = new URL(page.url()).pathname.split('/').pop() ?? '';
    expect((await team.ended(run)).verdict).toBe('held');
    await open(page, team, '/experiments?search=planned');
    await page
      .getByRole('row', { name: /planned/ })
      .getByText('held')
      .waitFor();
    await page.context().close();
  });
});

it('what a rule wants approved waits for somebody else, and is then started', async () => {
  const page = await chromium.page('light', team);
  await team.api('PUT', '/experiments/careful', { manifest: pause('careful', port, '500ms', '30s') });
  await team.api('PUT', '/policies/four-eyes', {
    policy: `apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: four-eyes }\nspec:\n  rules: [{ name: two of us, when: "experiment.name == 'careful'", approvals: 1 }]\n`,
  });
  await team.api('POST', '/users', { name: 'apu', roles: ['approver'] });
  const { secret } = await team.api<{ secret: string }>('POST', '/tokens', { name: 'of apu', owner: 'apu' });
  await open(page, team, '/experiments/careful');
  await page.getByRole('button', { name: 'Start…' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('would be refused').waitFor();
  await dialog.getByLabel('Why it should be approved').fill('the release of Tuesday');
  await dialog.getByRole('button', { name: 'Ask for approval' }).click();
  await page.waitForURL('**/approvals');
  await page.getByText('admin asks: the release of Tuesday').waitFor();
  expect(await page.getByRole('button', { name: 'Approve…' }).count()).toBe(0);
  const { items } = await team.api<{ items: { id: string }[] }>('GET', '/approvals');
  const answer = await fetch(`${team.url}/api/v1/approvals/${items[0]?.id}/approve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ comment: 'go on' }),
  });
  expect(answer.status).toBe(200);
  await page.getByText('go on').waitFor();
  await page.getByRole('button', { name: 'Start it…' }).click();
  await dialog.getByText('may run').waitFor();
  await dialog.getByRole('button', { name: 'Start the run' }).click();
  await page.waitForURL('**/runs/*');
  expect((await team.ended(new URL(page.url()).pathname.split('/').pop() ?? '')).verdict).toBe('held');
  await team.api('DELETE', '/policies/four-eyes');
  await page.context().close();
});

describe('what runs by itself', () => {
  it('is scheduled with its times in view, runs now, and stands in the calendar', async () => {
    const page = await chromium.page('light', team);
    await team.api('PUT', '/experiments/nightly', { manifest: pause('nightly', port, '500ms', '30s') });
    await open(page, team, '/experiments/nightly');
    await page.getByRole('link', { name: 'Schedule', exact: true }).click();
    const times = page.getByRole('region', { name: 'Next times' });
    await times.getByRole('listitem').nth(11).waitFor();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.waitForURL('**/schedules/nightly-weekly**');
    await page.getByRole('button', { name: 'Pause' }).click();
    await times.getByText('It is paused').waitFor();
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByRole('button', { name: 'Run now' }).click();
    await page.getByRole('region', { name: 'History' }).getByText('started', { exact: true }).first().waitFor();
    await open(page, team, '/calendar?view=agenda');
    await page
      .getByRole('link', { name: /nightly-weekly/ })
      .first()
      .click();
    await page.waitForURL('**/schedules/nightly-weekly');
    await page.context().close();
  });

  it("takes over a configuration of Netflix's, on the leash", async () => {
    const page = await chromium.page('light', team);
    await open(page, team, '/monkeys');
    await page.getByRole('button', { name: 'Import from Netflix' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name of the monkey').fill('old-friend');
    await dialog
      .getByLabel('Or their text')
      .fill('[chaosmonkey]\nenabled = true\nleashed = false\nschedule_enabled = true\naccounts = ["production"]\n');
    await dialog.getByRole('button', { name: 'Read it' }).click();
    await dialog.getByRole('heading', { level: 3 }).waitFor();
    await dialog.getByRole('button', { name: 'Go on with it' }).click();
    await page.waitForURL('**/monkeys/new**');
    const name = page.getByLabel('Name').first();
    await eventually('its name is in the form', async () => (await name.inputValue().catch(() => '')) === 'old-friend');
    await page.getByLabel('Leashed', { exact: true }).waitFor();
    await page.context().close();
  });
});

describe('those who may', () => {
  it('see the secret of a token once, and then nowhere any more', async () => {
    const page = await chromium.page('light', team);
    await open(page, team, '/tokens');
    await page.getByRole('button', { name: 'New token' }).first().click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('What it is for').fill('nightly job');
    await dialog.getByRole('button', { name: 'Make it' }).click();
    const secret = (await dialog.getByRole('region', { name: 'secret of the token' }).innerText()).trim();
    expect(secret).toMatch(/^sqt_/);
    const answer = await fetch(`${team.url}/api/v1/runs`, { headers: { authorization: `Bearer ${secret}` } });
    expect(answer.status).toBe(200);
    await dialog.getByRole('button', { name: 'I have it' }).click();
    await page.getByText('nightly job').waitFor();
    const everything = await page.evaluate(
      () => document.documentElement.outerHTML + JSON.stringify({ ...localStorage, ...sessionStorage }),
    );
    expect(everything).not.toContain(secret);
    await page.getByRole('button', { name: 'Revoke nightly job' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await eventually('it is worth nothing', async () => {
      return (await fetch(`${team.url}/api/v1/runs`, { headers: { authorization: `Bearer ${secret}` } })).status === 401;
    });
    await page.context().close();
  });

  it('find in the trail what was done, and that it is as it was written', async () => {
    const page = await chromium.page('light', team);
    await open(page, team, '/audit?action=token.revoke');
    await page
      .getByRole('row', { name: /token\.revoke/ })
      .first()
      .waitFor();
    expect(await page.getByRole('row', { name: /experiment\.save/ }).count()).toBe(0);
    await page.getByRole('button', { name: 'Verify the chain' }).click();
    await page.getByRole('status').getByText('intact').waitFor();
    await page.context().close();
  });
});

it('whatever people write is shown as text', async () => {
  const evil = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
  const text = JSON.stringify(evil);
  const page = await chromium.page('light', team);
  const experiment = pause('evil', port, '1s')
    .replace(/statement: .*/, `statement: ${text}`)
    .replace('labels: { service: shop }', `labels: { team: ${text} }`);
  await team.api('PUT', '/experiments/evil', { manifest: experiment });
  await team.api('PUT', '/schedules/evil', {
    schedule: `apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: { name: evil }\nspec:\n  experiment: evil\n  cron: "@daily"\n  freezes: [{ from: 2020-01-01, to: 2100-01-01, reason: ${text} }]\n`,
  });
  await team.api('PUT', '/policies/evil', {
    policy: `apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: evil }\nspec:\n  freezes: [{ from: 2020-01-01, to: 2100-01-01, reason: ${text} }]\n`,
  });
  await team
    .api('POST', '/users', { name: 'evil', display: evil, email: `${evil}@example.org`, roles: ['viewer'], password: 'a long pass phrase' })
    .catch(() => {
      return team.api('POST', '/users', { name: 'evil', display: evil, roles: ['viewer'], password: 'a long pass phrase' });
    });
  await team.api('POST', '/tokens', { name: evil });
  const plan = {
    title: evil,
    description: evil,
    participants: [{ name: 'admin', role: 'facilitator' }],
    scenarios: [
      {
        title: evil,
        experiment: { saved: 'evil' },
        expected: evil,
        service: evil,
        runbook: `https://wiki.example/${encodeURIComponent(evil)}`,
      },
    ],
    agenda: [{ after: '0s', text: evil }],
  };
  const { id } = await team.api<{ id: string }>('POST', '/gamedays', plan);
  await team.api('POST', `/gamedays/${id}/start`);
  await team.api('POST', `/gamedays/${id}/notes`, { text: evil });
  await team.api('POST', `/gamedays/${id}/lessons`, { text: evil });
  await team.api('POST', `/gamedays/${id}/actions`, { text: evil, owner: evil, priority: 'P0' });
  for (const path of [
    '/experiments',
    '/experiments/evil',
    '/experiments/evil?view=text',
    '/experiments/evil?tab=versions',
    '/schedules/evil',
    '/policies/evil',
    '/calendar?view=month',
    '/calendar?view=week',
    '/calendar?view=agenda',
    '/users',
    '/tokens',
    '/audit',
    '/gamedays',
    `/gamedays/${id}`,
  ]) {
    await open(page, team, path);
    if (path === '/experiments/evil') await page.getByText('experiments are frozen').first().waitFor();
    await settled(page);
    expect(await page.evaluate(() => 'hit' in window), path).toBe(false);
    expect(await page.locator('img[src="x"]').count(), path).toBe(0);
    expect(await page.locator('a[href^="javascript:"]').count(), path).toBe(0);
  }
  expect(await page.getByText(evil).count()).toBeGreaterThan(3);
  await team.api('DELETE', '/policies/evil');
  await page.context().close();
});

it('no page made an error, broke the policy or asked for something outside', () => {
  expect(chromium.errors).toEqual([]);
});
