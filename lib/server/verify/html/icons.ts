import type { State } from '../row.ts';
import { type Markup, markup } from './markup.ts';

/** Each state's name, and a shape of its own: who sees no colours sees these. */
export const STATES: Readonly<Record<State, { name: string; plural: string }>> = {
  problem: { name: 'Problem', plural: 'problems' },
  unknown: { name: 'Not seen', plural: 'not seen' },
  warning: { name: 'Warning', plural: 'warnings' },
  ok: { name: 'OK', plural: 'ok' },
  unset: { name: 'Not set', plural: 'not set' },
};

const SHAPES: Readonly<Record<State, Markup>> = {
  ok: markup`<circle cx="12" cy="12" r="10" /><path d="M7.5 12.5l3 3 6-7" />`,
  warning: markup`<path d="M12 2.5L22.5 21h-21z" /><path d="M12 9.5v5M12 17.6v.4" />`,
  problem: markup`<path d="M8 2h8l6 6v8l-6 6H8l-6-6V8z" /><path d="M8.5 8.5l7 7M15.5 8.5l-7 7" />`,
  unknown: markup`<path d="M12 1.5L22.5 12 12 22.5 1.5 12z" /><path d="M9.7 9.6a2.4 2.4 0 1 1 3.6 2.1c-.9.5-1.3 1-1.3 2M12 16.6v.4" />`,
  unset: markup`<circle cx="12" cy="12" r="10" stroke-dasharray="4 3" /><path d="M8 12h8" />`,
};

/** The icon of a state; the text beside it says the same. */
export const icon = (state: State): Markup =>
  markup`<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${SHAPES[state]}</svg>`;
