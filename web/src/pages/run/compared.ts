// The turns of a comparison as lines of a chart. Pure, and tested in compared.test.ts.

import type { components } from '$/api/schema';
import type { Drawn } from './series';

type Turn = components['schemas']['RunTurn'];
type Arm = components['schemas']['RunTurnArm'];

/** What of an answer is drawn: the share of bad ones, or the middle of those that are numbers. */
export type What = 'share' | 'median';

const of: Record<What, (arm: Arm) => number | null> = {
  share: (arm) => (arm.answers > 0 ? arm.bad / arm.answers : null),
  median: (arm) => arm.median ?? null,
};

/** The two sides, one beyond each edge of the part, so that the lines go on to it. The control group is drawn first: it is below. */
export function lines(turns: Turn[], what: What, from: number, to: number): Drawn {
  const after = turns.findIndex((turn) => turn.at >= from);
  const first = Math.max(0, (after === -1 ? turns.length : after) - 1);
  const past = turns.findIndex((turn) => turn.at > to);
  const seen = turns.slice(first, past === -1 ? turns.length : past + 1);
  const side = (name: 'control' | 'experiment'): (number | null)[] =>
    seen.map((turn) => {
      const arm = turn[name];
      return arm ? of[what](arm) : null;
    });
  const [control, experiment] = [side('control'), side('experiment')];
  const values = [...control, ...experiment].filter((value) => value !== null);
  // A share is seen as a part of the whole.
  const [min, max] = what === 'share' ? [0, 1] : [Math.min(...values), Math.max(...values)];
  return { x: seen.map((turn) => turn.at / 1e6), y: control, others: [experiment], bad: [], gaps: [], min, max };
}

/** A difference of shares in points, outwards to the whole one, so that nothing is promised that was not shown. */
export function points([low, high]: [number, number]): string {
  const signed = (value: number): string => (value > 0 ? `+${value}` : value < 0 ? `−${-value}` : '0');
  return `${signed(Math.floor(low * 100))} to ${signed(Math.ceil(high * 100))} points`;
}
