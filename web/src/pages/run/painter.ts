// Charts are drawn, and samples read, one after the other, with a pause whenever a frame's time is used up: twenty of them never hold up
// the page.

const BUDGET = 8;
const waiting = new Set<() => void>();
let asked = false;

function paint(): void {
  asked = false;
  const began = performance.now();
  for (const draw of waiting) {
    waiting.delete(draw);
    draw();
    if (performance.now() - began > BUDGET) break;
  }
  if (waiting.size > 0) ask();
}

function ask(): void {
  if (asked) return;
  asked = true;
  requestAnimationFrame(paint);
}

/** Has something drawn soon; once, however often it is asked for. */
export function soon(draw: () => void): void {
  waiting.add(draw);
  ask();
}

export function forget(draw: () => void): void {
  waiting.delete(draw);
}
