// How the parts of a run are shown.

import type { IconName } from '$/ui/icons';
import type { Shown } from '$/ui/states';
import type { Injection } from './watched.svelte';

const PROBES: Record<string, Shown> = {
  held: { tone: 'good', icon: 'check', text: 'held', title: 'As expected under the fault and after it.' },
  violated: { tone: 'bad', icon: 'cross', text: 'violated', title: 'Not as expected under the fault, or not again after it.' },
  unsteady: { tone: 'warn', icon: 'warn', text: 'not steady', title: 'Not as expected before anything was touched.' },
  unmeasured: { tone: 'warn', icon: 'question', text: 'not measurable', title: 'Could not be measured well enough to say.' },
  watched: { tone: 'idle', icon: 'eye', text: 'watched', title: 'Nothing was expected of it.' },
  untested: { tone: 'idle', icon: 'dash', text: 'not tested yet', title: 'Nothing was injected, so nothing can be said.' },
};

/** `over` is whether the run has ended: before that, nothing has held yet. */
export function probeShown(status: string, over: boolean): Shown {
  if (status === 'held' && !over) return { tone: 'good', icon: 'check', text: 'holds so far' };
  return PROBES[status] ?? { tone: 'idle', icon: 'question', text: status };
}

const COMPARISONS: Record<string, Shown> = {
  worse: { tone: 'bad', icon: 'cross', text: 'worse', title: 'Shown to be worse off than the control group, by more than the margin.' },
  notWorse: { tone: 'good', icon: 'check', text: 'not worse', title: 'Shown not to be worse off by more than the margin.' },
  undecided: { tone: 'idle', icon: 'dash', text: 'no difference shown', title: 'Neither worse nor not worse was shown.' },
  unmeasured: {
    tone: 'warn',
    icon: 'question',
    text: 'says nothing',
    title: 'Answers are missing, or the control group is not well itself.',
  },
  untested: { tone: 'idle', icon: 'dash', text: 'not tested yet', title: 'No fault came into force.' },
};

export function comparisonShown(status: string): Shown {
  return COMPARISONS[status] ?? { tone: 'idle', icon: 'question', text: status };
}

const STEPS: Record<string, Shown> = {
  idle: { tone: 'idle', icon: 'dot', text: 'to come' },
  delayed: { tone: 'idle', icon: 'timer', text: 'waits' },
  running: { tone: 'live', icon: 'run', text: 'under way' },
  suspended: { tone: 'warn', icon: 'pause', text: 'waits for you' },
  pausing: { tone: 'idle', icon: 'timer', text: 'pauses' },
  done: { tone: 'good', icon: 'check', text: 'done' },
  skipped: { tone: 'idle', icon: 'dash', text: 'skipped' },
};

export function stepShown(phase: string): Shown {
  return STEPS[phase] ?? { tone: 'idle', icon: 'question', text: phase };
}

/** Where a fault on a target is. `over` is whether the run has ended. */
export function injectionShown(one: Injection, over: boolean): Shown {
  if (one.stuck) return { tone: 'bad', icon: 'warn', text: 'stuck', title: 'It could not be put back within the run.' };
  if (one.by) {
    const by = one.by === 'engine' ? '' : ` by ${one.by}`;
    return { tone: 'good', icon: 'undo', text: `put back${by}` };
  }
  if (one.inForce == null) {
    if (one.error) return { tone: 'bad', icon: 'cross', text: 'not injected' };
    return over ? { tone: 'idle', icon: 'dash', text: 'never in force' } : { tone: 'live', icon: 'run', text: 'begins' };
  }
  if (one.verified === false) return { tone: 'warn', icon: 'question', text: 'no effect' };
  if (one.verified === true) return { tone: 'fault', icon: 'bolt', text: 'in force, seen' };
  return { tone: 'fault', icon: 'bolt', text: 'in force' };
}

export const MARKS: Record<string, { icon: IconName; word: string; tone: string }> = {
  step: { icon: 'right', word: 'step', tone: 'idle' },
  fault: { icon: 'bolt', word: 'fault', tone: 'fault' },
  good: { icon: 'check', word: 'good', tone: 'good' },
  bad: { icon: 'cross', word: 'bad', tone: 'bad' },
  unsure: { icon: 'question', word: 'unsure', tone: 'warn' },
};

/** The host of a target of a server's run: its id begins with it. */
export function hostOf(targetId: string): string {
  const slash = targetId.indexOf('/');
  return slash > 0 ? targetId.slice(0, slash) : '';
}

/** When a target was, or may have been, broken, in microseconds. */
export function windowOf(one: Injection, end: number): [number, number] {
  return [one.inForce ?? one.begun, one.reverted ?? end];
}
