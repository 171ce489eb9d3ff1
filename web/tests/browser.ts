// A real Chromium, signed in, that tells what its console says and what its policy refuses.

import { AxeBuilder } from './axe';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import type { Team } from './team';

export type Look = 'light' | 'dark' | 'narrow';

export class Chromium {
  #browser: Browser;
  /** Errors of pages: none is allowed. */
  readonly errors: string[] = [];
  /** Where requests may go. */
  readonly hosts = new Set(['127.0.0.1']);

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async start(): Promise<Chromium> {
    const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
    const args = ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none', '--force-color-profile=srgb', '--hide-scrollbars'];
    return new Chromium(await chromium.launch({ executablePath, args }));
  }

  async context(look: Look = 'light', team?: Team): Promise<BrowserContext> {
    const viewport = look === 'narrow' ? { width: 400, height: 860 } : { width: 1280, height: 900 };
    const context = await this.#browser.newContext({
      viewport,
      colorScheme: look === 'dark' ? 'dark' : 'light',
      reducedMotion: 'reduce',
      locale: 'en-GB',
      timezoneId: 'UTC',
    });
    if (team) await context.addCookies([{ ...team.cookie }]);
    context.on('page', (page) => this.#listen(page));
    return context;
  }

  async page(look: Look = 'light', team?: Team): Promise<Page> {
    const context = await this.context(look, team);
    return context.newPage();
  }

  #listen(page: Page): void {
    page.on('pageerror', (error) => this.errors.push(`${page.url()}: ${error.message}`));
    page.on('console', (message) => {
      // What a policy refuses is told here; so is every answer that is an error, which is no mistake of the page.
      if (message.type() === 'error' && !/Failed to load resource|ERR_/.test(message.text()))
        this.errors.push(`${page.url()}: ${message.text()}`);
    });
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.protocol.startsWith('http') && !this.hosts.has(url.hostname)) this.errors.push(`an outside request: ${request.url()}`);
    });
  }

  async stop(): Promise<void> {
    await this.#browser.close();
  }
}

/** Opens a path of the console, and waits until nothing is loading any more. */
export async function open(page: Page, team: Team, path: string): Promise<void> {
  await page.goto(`${team.url}${path}`);
  await page
    .locator('main h1')
    .first()
    .waitFor()
    .catch(async (error: unknown) => {
      throw new Error(`${path} has no heading: ${(await page.content()).slice(0, 4000)}`, { cause: error });
    });
  await settled(page);
}

export async function settled(page: Page): Promise<void> {
  await page.waitForFunction(() => document.querySelector('main .loading') === null);
  await page.evaluate(() =>
    document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))),
  );
}

/** What axe-core finds that is serious: kind, and where. */
export async function barriers(page: Page): Promise<string[]> {
  return new AxeBuilder(page).serious();
}
