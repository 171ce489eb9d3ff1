// Why a sign-in by a provider led back here. The server says it in a word, so that no link can put sentences of its own onto the page.

import { ApiError } from './problem';

interface Why {
  detail: string;
  hint: string;
}

const ADMIN = 'whoever looks after this server';

const WHY: Record<string, Why> = {
  declined: {
    detail: 'the sign-in was cancelled at the provider, or the provider does not let you use Squall',
    hint: 'sign in again, or ask whoever looks after the provider to let you',
  },
  'not-begun': {
    detail: 'the sign-in was begun in another browser, or took longer than ten minutes',
    hint: 'sign in again, from this page',
  },
  'not-believed': {
    detail: 'what the provider said of you cannot be believed',
    hint: `sign in again; if it stays so, ask ${ADMIN}: its log says more`,
  },
  unusable: {
    detail: 'the provider cannot be used just now',
    hint: `try again in a moment; if it stays so, ask ${ADMIN}: its log says more`,
  },
  'no-role': {
    detail: 'the provider knows you, but none of your groups has a role here',
    hint: `ask ${ADMIN} for a role: \`oidc\` in its configuration says which groups have one`,
  },
  'no-name': {
    detail: 'the provider gives no name that a user here can have',
    hint: `ask ${ADMIN}: \`userClaim\` in its configuration says where names come from`,
  },
  'name-taken': {
    detail: 'your name is already that of another user here',
    hint: 'ask an admin: they can remove that user, or take names from another claim with `userClaim`',
  },
  disabled: { detail: 'your user is disabled', hint: 'ask an admin to enable it' },
};

const FAILED: Why = { detail: 'the server could not sign you in', hint: `try again; if it stays so, ask ${ADMIN}: its log says more` };

/** The word as an error to show. */
export function refusal(word: string): ApiError {
  const why = Object.hasOwn(WHY, word) ? WHY[word] : undefined;
  return new ApiError({ type: '/problems/not-signed-in', title: 'You are not signed in', status: 401, ...(why ?? FAILED) });
}
