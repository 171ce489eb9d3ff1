// One probe, or the two sides of a comparison, as a chart: uPlot draws lines and axes; fault windows, the baseline's band, thresholds, violations and gaps are drawn around it.

import uPlot from 'uplot';
import { measured, seconds } from '$/lib/format';
import type { Drawn } from './series';

export interface Around {
  dimension: string;
  thresholds: number[];
  /** What was usual before anything was touched. */
  baseline: { low: number; high: number } | undefined;
  /** When something was broken, in seconds. */
  faults: [number, number][];
}

export interface Chart {
  draw(drawn: Drawn, from: number, to: number, around: Around): void;
  size(width: number): void;
  destroy(): void;
}

const HEIGHT = 160;

/** How a line is drawn: told from another one by its dashes, too. */
export interface Line {
  colour: 'line' | 'other';
  width: number;
  dash?: number[];
  /** With a dot for each value, as long as they stand far enough apart: one alone is no line. */
  dots?: boolean;
}

const ONE: Line[] = [{ colour: 'line', width: 1.5 }];

interface Colours {
  line: string;
  other: string;
  grid: string;
  text: string;
  bad: string;
  warn: string;
  good: string;
  fault: string;
  idle: string;
}

function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(name).trim();
  return {
    line: of('--series-1'),
    other: of('--series-2'),
    grid: of('--line'),
    text: of('--muted'),
    bad: of('--bad'),
    warn: of('--warn'),
    good: of('--good'),
    fault: of('--fault'),
    idle: of('--line-strong'),
  };
}

function alpha(context: CanvasRenderingContext2D, share: number, draw: () => void): void {
  const before = context.globalAlpha;
  context.globalAlpha = share;
  draw();
  context.globalAlpha = before;
}

/** What is under the line: the windows of faults, the band of the baseline, and times without an answer. */
function under(u: uPlot, drawn: Drawn, around: Around, colour: Colours): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const x = (value: number): number => u.valToPos(value, 'x', true);
  const y = (value: number): number => u.valToPos(value, 'y', true);
  for (const [from, to] of around.faults) {
    ctx.fillStyle = colour.fault;
    alpha(ctx, 0.12, () => ctx.fillRect(x(from), bbox.top, Math.max(2, x(to) - x(from)), bbox.height));
    alpha(ctx, 0.7, () => ctx.fillRect(x(from), bbox.top, devicePixelRatio, bbox.height));
  }
  if (around.baseline) {
    ctx.fillStyle = colour.good;
    const [top, bottom] = [y(around.baseline.high), y(around.baseline.low)];
    alpha(ctx, 0.14, () => ctx.fillRect(bbox.left, top, bbox.width, Math.max(2, bottom - top)));
  }
  for (const [from, to] of drawn.gaps) hatch(ctx, x(from), Math.max(4, x(to) - x(from)), bbox.top, bbox.height, colour.warn);
  ctx.restore();
}

/** Told from other areas by its shape, not by its colour alone. */
function hatch(ctx: CanvasRenderingContext2D, left: number, width: number, top: number, height: number, colour: string): void {
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.lineWidth = devicePixelRatio;
  ctx.globalAlpha = 0.6;
  ctx.beginPath();
  const step = 7 * devicePixelRatio;
  for (let at = left - height; at < left + width; at += step) {
    ctx.moveTo(at, top + height);
    ctx.lineTo(at + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

/** What is over the line: thresholds, and a cross at every violation. */
function over(u: uPlot, drawn: Drawn, around: Around, colour: Colours): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.strokeStyle = colour.bad;
  ctx.lineWidth = 1.25 * devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const threshold of around.thresholds) {
    const at = u.valToPos(threshold, 'y', true);
    ctx.beginPath();
    ctx.moveTo(bbox.left, at);
    ctx.lineTo(bbox.left + bbox.width, at);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  const arm = 2.5 * devicePixelRatio;
  ctx.beginPath();
  for (const index of drawn.bad) {
    const at = u.valToPos(drawn.x[index] ?? 0, 'x', true);
    const value = u.valToPos(drawn.y[index] ?? 0, 'y', true);
    ctx.moveTo(at - arm, value - arm);
    ctx.lineTo(at + arm, value + arm);
    ctx.moveTo(at + arm, value - arm);
    ctx.lineTo(at - arm, value + arm);
  }
  ctx.stroke();
  ctx.restore();
}

/** From the values, with the thresholds where those are not so far that the line would be flat. */
function range(drawn: Drawn, around: Around): [number, number] {
  let [low, high] = drawn.min <= drawn.max ? [drawn.min, drawn.max] : [0, 1];
  const span = Math.max(high - low, Math.abs(high) * 0.05, 1e-9);
  for (const threshold of around.thresholds) {
    if (threshold > high && threshold - high < span * 8) high = threshold;
    if (threshold < low && low - threshold < span * 8) low = threshold;
  }
  const pad = Math.max(high - low, span) * 0.08;
  return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
}

/** Makes a chart within an element. `onzoom` is told what was dragged over, in seconds; `oncursor` what is pointed at. */
export function chart(
  element: HTMLElement,
  dimension: string,
  onzoom: (from: number, to: number) => void,
  oncursor: (at: number | undefined) => void,
  lines: Line[] = ONE,
): Chart {
  const colour = colours();
  let now: Drawn = { x: [], y: [], bad: [], gaps: [], min: 0, max: 1 };
  let around: Around = { dimension, thresholds: [], baseline: undefined, faults: [] };
  let part: [number, number] = [0, 1];
  const axis = { stroke: colour.text, font: '11px system-ui, sans-serif', grid: { stroke: colour.grid, width: 1 }, ticks: { show: false } };
  const u = new uPlot(
    {
      width: Math.max(120, element.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false, setScale: false }, sync: { key: 'run' } },
      scales: { x: { time: false, range: () => part }, y: { range: () => range(now, around) } },
      axes: [
        { ...axis, size: 24, gap: 4, space: 70, values: (_, ticks) => ticks.map((tick) => seconds(tick)) },
        { ...axis, size: 64, gap: 4, space: 28, values: (_, ticks) => ticks.map((tick) => measured(tick, dimension)) },
      ],
      series: [
        {},
        ...lines.map((line) => ({
          stroke: colour[line.colour],
          width: line.width,
          ...(line.dash ? { dash: line.dash } : {}),
          points: line.dots ? { size: 5 } : { show: false },
          spanGaps: false,
        })),
      ],
      hooks: {
        drawClear: [(plot) => under(plot, now, around, colour)],
        draw: [(plot) => over(plot, now, around, colour)],
        setCursor: [
          (plot) => oncursor(plot.cursor.left !== undefined && plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, 'x') : undefined),
        ],
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (width > 4) onzoom(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'));
            if (width > 0) plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
      },
    },
    [[], ...lines.map(() => [])],
    element,
  );
  return {
    draw(drawn, from, to, with_) {
      [now, around, part] = [drawn, with_, [from, Math.max(to, from + 1e-6)]];
      u.setData([drawn.x, drawn.y, ...(drawn.others ?? [])], true);
    },
    size: (width) => u.setSize({ width: Math.max(120, width), height: HEIGHT }),
    destroy: () => u.destroy(),
  };
}
