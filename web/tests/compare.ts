// Pictures of pages against those that were accepted. Both are made small and grey first, so that other fonts, other times and other ids
// are no difference, and a part that moved, vanished or lost its ground is one. `ACCEPT=all` accepts what is seen now, `ACCEPT=new` only what has no
// accepted picture yet.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Page } from 'playwright-core';

/** Width of the small pictures, in pixels, and how far (of 255) their blocks may be apart: on average, and each. */
const SMALL = 40;
const MEAN = 8;
const MOST = 0.1;

export async function compare(page: Page, name: string): Promise<string | undefined> {
  const shot = await page.screenshot({ animations: 'disabled', caret: 'hide' });
  mkdirSync(new URL('./shots', import.meta.url), { recursive: true });
  writeFileSync(new URL(`./shots/${name}.png`, import.meta.url), shot);
  // In a page of its own: the console's policy lets no other script run.
  const other = await page.context().newPage();
  const picture = `data:image/png;base64,${shot.toString('base64')}`;
  const accepted = new URL(`./screens/${name}.webp`, import.meta.url);
  const accept = process.env['ACCEPT'];
  if (accept === 'all' || (accept === 'new' && !existsSync(accepted)))
    writeFileSync(accepted, Buffer.from(await halved(other, picture), 'base64'));
  if (!existsSync(accepted)) {
    await other.close();
    return `${name}: there is no accepted picture; look at tests/shots/${name}.png and accept it with ACCEPT=new`;
  }
  const pictures = [`data:image/webp;base64,${readFileSync(accepted).toString('base64')}`, picture];
  const { mean, share } = await other.evaluate(
    async ([urls, small]) => {
      const blocks = await Promise.all(
        urls.map(async (url) => {
          const image = new Image();
          image.src = url;
          await image.decode();
          const canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [small, Math.round((image.height / image.width) * small)];
          const context = canvas.getContext('2d');
          if (!context) throw new Error('no canvas');
          context.imageSmoothingQuality = 'high';
          context.drawImage(image, 0, 0, canvas.width, canvas.height);
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          return Array.from(
            { length: data.length / 4 },
            (_, index) => (data[index * 4]! + data[index * 4 + 1]! + data[index * 4 + 2]!) / 3,
          );
        }),
      );
      const [one = [], two = []] = blocks;
      const apart = one.map((value, index) => Math.abs(value - (two[index] ?? 255)));
      return {
        mean: apart.reduce((sum, value) => sum + value, 0) / apart.length,
        share: apart.filter((value) => value > 32).length / apart.length,
      };
    },
    [pictures, SMALL] as const,
  );
  await other.close();
  if (mean <= MEAN && share <= MOST) return undefined;
  return `${name}: looks otherwise than was accepted (mean ${mean.toFixed(1)} of 255, ${(share * 100).toFixed(1)} % of blocks); see tests/shots/${name}.png`;
}

/** As it is committed: half as wide, and small. */
async function halved(page: Page, url: string): Promise<string> {
  return page.evaluate(async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [Math.round(image.width / 2), Math.round(image.height / 2)];
    const context = canvas.getContext('2d');
    if (!context) throw new Error('no canvas');
    context.imageSmoothingQuality = 'high';
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL('image/webp', 0.75).split(',')[1] ?? '';
  }, url);
}
