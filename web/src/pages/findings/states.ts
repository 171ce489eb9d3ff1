// How far findings are.

import type { components } from '$/api/schema';
import type { Shown } from '$/ui/states';

export type FindingState = components['schemas']['FindingState'];
export type FindingView = components['schemas']['FindingView'];

export const STATES: { id: FindingState; title: string; shown: Shown; about: string }[] = [
  { id: 'open', title: 'Open', shown: { tone: 'bad', icon: 'cross', text: 'open' }, about: 'Nobody has taken it on.' },
  { id: 'acknowledged', title: 'Taken on', shown: { tone: 'warn', icon: 'user', text: 'taken on' }, about: 'Somebody looks after it.' },
  {
    id: 'fixed',
    title: 'Fixed',
    shown: { tone: 'info', icon: 'check', text: 'fixed' },
    about: 'Somebody says so; a run that holds verifies it.',
  },
  {
    id: 'verified',
    title: 'Verified',
    shown: { tone: 'good', icon: 'check', text: 'verified' },
    about: 'A later run of its experiment held.',
  },
  { id: 'wontfix', title: 'Left as it is', shown: { tone: 'idle', icon: 'dash', text: 'left as it is' }, about: 'Known, and accepted.' },
];

export function stateShown(state: FindingState): Shown {
  return STATES.find((one) => one.id === state)?.shown ?? { tone: 'idle', icon: 'question', text: state };
}
