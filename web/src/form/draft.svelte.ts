// A document that somebody is writing: its text, what is wrong with it, and changes from a form. The text is all there is; the form
// shows what it says.

import type { Mark } from '$/editor/codemirror';
import type { ApiError } from '$/lib/problem';
import { check, type Issue } from '$/manifest/check';
import { append, edit, move, place, read, rename } from '$/manifest/document';
import { isMap, pathText, type Path, type Schema } from '$/manifest/schema';
import type { Form } from './form';

/** Something wrong, as a list shows it. */
export interface Mistake {
  message: string;
  hint?: string;
  where: string;
  from: number;
  to: number;
}

export class Draft {
  #text = $state('');
  /** The text that is understood: what somebody types is, once they pause for a moment. */
  #settled = $state('');
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** As the server has it. */
  saved = $state('');
  schema = $state.raw<Schema | undefined>();
  /** Names that a place may have, besides those that the document gives: of experiments, of hosts. */
  known = $state.raw<(path: Path) => string[]>(() => []);
  readonly = $state(false);
  /** What the server said, and of which text. */
  #answer = $state.raw<{ text: string; error?: ApiError } | undefined>();

  reading = $derived(read(this.#settled));
  changed = $derived(this.text !== this.saved);
  #issues = $derived(this.schema && this.reading.errors.length === 0 ? check(this.schema, this.reading.value) : []);
  mistakes = $derived.by(() => this.#mistakes());
  marks = $derived(
    this.mistakes.map(({ from, to, message, hint }): Mark => ({
      from,
      to,
      severity: 'error',
      message: hint ? `${message}\n${hint}` : message,
    })),
  );
  form = $derived.by((): Form | undefined => this.#form());
  /** `metadata.name`. */
  name = $derived.by(() => {
    const metadata = isMap(this.reading.value) ? this.reading.value['metadata'] : undefined;
    return isMap(metadata) && typeof metadata['name'] === 'string' ? metadata['name'] : '';
  });

  constructor(text = '') {
    this.text = text;
    this.saved = text;
  }

  get text(): string {
    return this.#text;
  }

  set text(text: string) {
    clearTimeout(this.#timer);
    this.#text = text;
    this.#settled = text;
  }

  /** The text as somebody types it: to understand all of it at every keystroke would be felt. */
  type(text: string): void {
    this.#text = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#settled = text), 150);
  }

  /** Another document, or the same as somebody else has left it. */
  load(text: string): void {
    this.text = text;
    this.saved = text;
    this.#answer = undefined;
  }

  /** What the server said of a text: it knows better than a schema. */
  answered(text: string, error?: ApiError): void {
    this.#answer = error ? { text, error } : { text };
  }

  #mistakes(): Mistake[] {
    const { errors } = this.reading;
    if (errors.length > 0) return errors.slice(0, 20).map((error) => ({ ...error, where: `line ${this.#line(error.from)}` }));
    const answer = this.#answer?.text === this.#settled ? this.#answer : undefined;
    if (answer && !answer.error) return [];
    const told = answer?.error?.problem.errors ?? [];
    if (told.length > 0) return told.map((one) => this.#told(one));
    return this.#issues.slice(0, 50).map((issue) => this.#seen(issue));
  }

  #told({ place: where, message, hint }: { place: string; message: string; hint?: string | null }): Mistake {
    const at = /^line (\d+), column (\d+)$/.exec(where);
    const span = at ? this.#word(Number(at[1]), Number(at[2])) : place(this.reading, parsePath(where));
    return { ...span, where, message, ...(hint ? { hint } : {}) };
  }

  #seen(issue: Issue): Mistake {
    const span = place(this.reading, issue.path, issue.key);
    return { ...span, message: issue.message, where: pathText(issue.path) || `line ${this.#line(span.from)}` };
  }

  #line(offset: number): number {
    return this.#settled.slice(0, offset).split('\n').length;
  }

  /** The word at a line and column, both from 1. Columns are of the text with its parameters filled in: nearly right is right enough. */
  #word(line: number, column: number): { from: number; to: number } {
    const lines = this.#settled.split('\n');
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    const content = lines[line - 1] ?? '';
    const from = Math.min(column - 1, Math.max(0, content.length - 1));
    const word = /^[^\s,{}[\]]+/.exec(content.slice(from))?.[0].length ?? 1;
    return { from: start + from, to: start + from + Math.max(1, word) };
  }

  #form(): Form | undefined {
    const root = this.schema;
    if (!root) return undefined;
    const issues = new Map<string, string>();
    for (const issue of this.#issues) if (!issues.has(pathText(issue.path))) issues.set(pathText(issue.path), issue.message);
    const names = (path: Path) => [...this.known(path), ...this.#names(path)];
    return {
      root,
      issues,
      readonly: this.readonly,
      names,
      edit: (path, value) => void (this.text = edit(this.text, path, value)),
      append: (path, item) => void (this.text = append(this.text, path, item)),
      move: (path, from, to) => void (this.text = move(this.text, path, from, to)),
      rename: (path, name) => void (this.text = rename(this.text, path, name)),
    };
  }

  #names(path: Path): string[] {
    const [last, above] = [path.at(-1), path.at(-2)];
    const list = last === 'probe' ? ['spec', 'hypothesis', 'probes'] : last === 'from' && above === 'traffic' ? ['spec', 'traffic'] : [];
    if (list.length === 0) return [];
    const items = list.reduce<unknown>((at, key) => (isMap(at) ? at[key] : undefined), this.reading.value);
    const named = Array.isArray(items) ? items.map((item: unknown): unknown => (isMap(item) ? item['name'] : undefined)) : [];
    return named.filter((name): name is string => typeof name === 'string' && name !== '');
  }
}

/** The inverse of `pathText`. */
export function parsePath(text: string): (string | number)[] {
  return [...text.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, key]) => (index === undefined ? (key ?? '') : Number(index)));
}
