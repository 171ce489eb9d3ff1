// How states are shown everywhere: one tone, one picture, one word each.

import type { IconName } from './icons';

export type Tone = 'good' | 'bad' | 'warn' | 'info' | 'idle' | 'fault' | 'live';
export interface Shown {
  tone: Tone;
  icon: IconName;
  text: string;
  title?: string;
}

const VERDICTS: Record<string, Shown> = {
  held: { tone: 'good', icon: 'check', text: 'held', title: 'The steady state held through the fault and after it.' },
  deviated: { tone: 'bad', icon: 'cross', text: 'deviated', title: 'A weakness was found, or the system did not recover in time.' },
  unsteady: { tone: 'warn', icon: 'warn', text: 'unsteady', title: 'The system was not steady before: nothing was touched.' },
  aborted: { tone: 'info', icon: 'stop', text: 'aborted', title: 'A guard or a person stopped the run; what had been done was put back.' },
  inconclusive: { tone: 'idle', icon: 'question', text: 'inconclusive', title: 'It could not be measured, or the fault had no effect.' },
  failed: { tone: 'bad', icon: 'warn', text: 'failed', title: 'Squall itself failed: a fault could not be injected or put back.' },
};

/** A run's verdict; one without is under way. */
export function verdictShown(verdict: string | null | undefined): Shown {
  if (!verdict) return { tone: 'live', icon: 'run', text: 'running', title: 'It is under way.' };
  return VERDICTS[verdict] ?? { tone: 'idle', icon: 'question', text: verdict };
}

export const VERDICT_NAMES = Object.keys(VERDICTS);
