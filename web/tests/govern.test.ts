// Who may do what, and who is told of what.

import { afterAll, beforeAll, expect, it } from 'vitest';

import { Chromium, open } from './browser';
import { eventually, Team } from './team';

let team: Team;
let chromium: Chromium;

beforeAll(async () => {
  team = await Team.start();
  chromium = await Chromium.start();
});

afterAll(async () => {
  await chromium?.stop();
  await team?.stop();
});

it('a new user chooses a password, sees what a viewer may see, and is out as soon as they are disabled', async () => {
  const admin = await chromium.page('light', team);
  await open(admin, team, '/users');
  await admin.getByRole('button', { name: 'New user' }).click();
  const dialog = admin.getByRole('dialog');
  await dialog.getByLabel('Name', { exact: false }).first().fill('vera');
  await dialog.getByLabel('First password').fill('for the first day only');
  await dialog.getByRole('button', { name: 'Add' }).click();
  await admin.getByRole('row', { name: /vera/ }).getByText('has to choose a password').waitFor();

  const vera = await chromium.page('light');
  await vera.goto(team.url);
  await vera.getByLabel('User').fill('vera');
  await vera.getByLabel('Password').fill('for the first day only');
  await vera.getByRole('button', { name: 'Sign in' }).click();
  await vera.getByRole('heading', { name: 'Choose a password' }).waitFor();
  await vera.getByLabel('Present password').fill('for the first day only');
  await vera.getByLabel('New password', { exact: true }).fill('one that she has chosen');
  await vera.getByLabel('New password, again').fill('one that she has chosen');
  await vera.getByRole('button', { name: 'Change the password' }).click();
  await vera.getByRole('navigation').getByRole('link', { name: 'Experiments' }).click();
  await vera.getByRole('heading', { name: 'Experiments' }).waitFor();
  // What she may not do is not offered, and what she may not see is refused in words.
  expect(await vera.getByRole('link', { name: 'New experiment' }).count()).toBe(0);
  expect(await vera.getByRole('navigation').getByRole('link', { name: 'Users' }).count()).toBe(0);
  await vera.goto(`${team.url}/audit`);
  await vera.getByText('ask an admin').waitFor();

  await admin.getByRole('button', { name: 'Sessions of vera' }).click();
  await admin.getByRole('dialog').getByRole('row').nth(1).waitFor();
  await admin.keyboard.press('Escape');
  await admin.getByRole('button', { name: 'Disable vera' }).click();
  await admin.getByRole('row', { name: /vera/ }).getByText('disabled').waitFor();
  await vera.goto(`${team.url}/runs`);
  await vera.getByRole('heading', { name: 'Sign in' }).waitFor();
  await vera.context().close();
  await admin.context().close();
});

it('a channel is made by its form, tried out, and what cannot be delivered can be discarded', async () => {
  const page = await chromium.page('light', team);
  await open(page, team, '/channels/new');
  await page.getByLabel('Name', { exact: false }).first().fill('ops');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.waitForURL('**/channels/ops');
  await page.getByRole('button', { name: 'Try it out' }).click();
  await page.getByRole('status').getByText('it does not work').waitFor();
  await page.getByRole('status').getByText('SQUALL_SECRET_SLACK').waitFor();
  await page.getByRole('textbox', { name: 'Tries' }).fill('1');
  await page.getByRole('button', { name: 'Save' }).click();
  await eventually('one try is enough now', async () => {
    const { channel } = await team.api<{ channel: { retry: { tries: number } } }>('GET', '/channels/ops');
    return channel.retry.tries === 1;
  });
  // A run that nothing stands against tells the channel of its end.
  const run = await team.begin(
    'apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: { name: waits }\nspec:\n  hypothesis:\n    statement: It waits.\n    probes: [{ name: page, tcp: { address: "127.0.0.1:1" }, expect: { lt: 500ms } }]\n  steady: { for: 1s }\n  method: [{ wait: 100ms }]\n',
  );
  await team.ended(run);
  await open(page, team, '/channels?tab=dead');
  await page
    .getByRole('row', { name: /run\.ended/ })
    .first()
    .waitFor();
  await page.getByRole('button', { name: 'Discard' }).first().click();
  await page.getByText('No dead letters').waitFor();
  await page.context().close();
});

it('no page made an error, broke the policy or asked for something outside', () => {
  expect(chromium.errors).toEqual([]);
});
