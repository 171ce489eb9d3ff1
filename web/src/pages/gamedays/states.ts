// How far game days and their scenarios are, and times against objectives.

import type { components } from '$/api/schema';
import type { Shown } from '$/ui/states';

export type View = components['schemas']['GameDayView'];
/** What has a default may be absent in an answer. */
export type Scenario = Partial<components['schemas']['Scenario']>;
export type ScenarioPlan = components['schemas']['ScenarioPlan'];
export type Entry = components['schemas']['TimelineEntry'];

const DAYS: Record<components['schemas']['GameDayState'], Shown> = {
  planned: { tone: 'info', icon: 'calendar', text: 'planned' },
  running: { tone: 'live', icon: 'run', text: 'running' },
  finished: { tone: 'good', icon: 'check', text: 'finished' },
  cancelled: { tone: 'idle', icon: 'cross', text: 'called off' },
};
const SCENARIOS: Record<components['schemas']['ScenarioState'], Shown> = {
  waiting: { tone: 'idle', icon: 'ring', text: 'waiting' },
  running: { tone: 'live', icon: 'run', text: 'running' },
  done: { tone: 'good', icon: 'check', text: 'done' },
  skipped: { tone: 'idle', icon: 'dash', text: 'left out' },
};
export const dayShown = (state: components['schemas']['GameDayState']): Shown => DAYS[state];
export const scenarioShown = (state: components['schemas']['ScenarioState'] | undefined): Shown => SCENARIOS[state ?? 'waiting'];

/** `5m`, `1h 30m`, `90s` in milliseconds, as Squall writes times. */
export function span(text: string | null | undefined): number | undefined {
  if (!text) return undefined;
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
  let sum = 0;
  let found = false;
  for (const [, n, unit] of text.matchAll(/([\d.]+)\s*(ms|min|s|m|h|d)/g)) {
    sum += Number(n) * (units[unit ?? ''] ?? 0);
    found = true;
  }
  return found ? sum : undefined;
}

/** `0:07`, `12:03`, `1:02:03`. */
export function clock(ms: number): string {
  const whole = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (n: number) => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A time against its objective: how long it took, or has taken so far, and whether that is still good. */
export interface Measured {
  ms: number;
  over: boolean;
  done: boolean;
  objective: number | undefined;
}

/** Times count from when the fault was in force; before that, from the start of the scenario's run it is nobody's time. */
export function measure(
  scenario: Scenario,
  mark: 'detected' | 'resolved',
  objective: string | null | undefined,
  now: number,
): Measured | undefined {
  const from = scenario.faultAt ? new Date(scenario.faultAt).getTime() : undefined;
  if (from === undefined) return undefined;
  const at = scenario[mark]?.at;
  const ms = Math.max(0, (at ? new Date(at).getTime() : now) - from);
  const limit = span(objective);
  return { ms, over: limit !== undefined && ms > limit, done: at !== undefined, objective: limit };
}

/** The scenario that marks are about: the one that runs, or the last that ran and is not resolved. */
export function current(scenarios: readonly Scenario[]): number {
  const running = scenarios.findIndex((scenario) => scenario.state === 'running');
  return running >= 0 ? running : scenarios.findLastIndex((scenario) => scenario.state === 'done' && !scenario.resolved);
}

/** What an entry of a timeline says. */
export function words(entry: Entry, plan: readonly ScenarioPlan[]): { text: string; kind: 'mark' | 'note' | 'run' | 'day' } {
  const what = entry.what;
  const of = (index: number | null | undefined) => (typeof index === 'number' ? (plan[index]?.title ?? `scenario ${index + 1}`) : '');
  if ('started' in what) return { text: 'The game day began', kind: 'day' };
  if ('finished' in what) return { text: 'The game day is over', kind: 'day' };
  if ('cancelled' in what) return { text: `Called off: ${what.cancelled.reason}`, kind: 'day' };
  if ('scenarioStarted' in what) return { text: `Started: ${of(what.scenarioStarted.scenario)}`, kind: 'run' };
  if ('faultInForce' in what) return { text: `The fault is in force: ${of(what.faultInForce.scenario)}`, kind: 'run' };
  if ('scenarioEnded' in what)
    return { text: `Over: ${of(what.scenarioEnded.scenario)}, ${what.scenarioEnded.verdict}. ${what.scenarioEnded.reason}`, kind: 'run' };
  if ('skipped' in what) return { text: `Left out: ${of(what.skipped.scenario)}. ${what.skipped.reason}`, kind: 'run' };
  if ('marked' in what)
    return { text: `${what.marked.mark === 'detected' ? 'Detected' : 'Resolved'}: ${of(what.marked.scenario)}`, kind: 'mark' };
  if ('unmarked' in what) return { text: `Taken back, ${what.unmarked.mark}: ${of(what.unmarked.scenario)}`, kind: 'mark' };
  if ('actual' in what) return { text: `What happened in ${of(what.actual.scenario)}: ${what.actual.text}`, kind: 'note' };
  if ('note' in what)
    return { text: what.note.scenario == null ? what.note.text : `${of(what.note.scenario)}: ${what.note.text}`, kind: 'note' };
  if ('lesson' in what) return { text: `Lesson: ${what.lesson.text}`, kind: 'note' };
  return { text: `To be done: ${what.action.text}`, kind: 'note' };
}
