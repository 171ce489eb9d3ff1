// The editor of YAML: CodeMirror 6. A chunk of its own, loaded with the first editor that is shown.

import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  type CompletionContext,
  type CompletionResult,
} from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { yaml } from '@codemirror/lang-yaml';
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from '@codemirror/language';
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { unifiedMergeView } from '@codemirror/merge';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState, type Extension } from '@codemirror/state';
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  hoverTooltip,
  keymap,
  lineNumbers,
  type Tooltip,
} from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { explain, positionAt, suggestions } from '$/manifest/complete';
import type { Schema } from '$/manifest/schema';

/** Something to be marked in the text. */
export interface Mark {
  from: number;
  to: number;
  severity: 'error' | 'warning';
  message: string;
}

export interface Options {
  parent: HTMLElement;
  /** A shadow root: there, styles are sheets that a script has built, which the content security policy allows. */
  root: ShadowRoot;
  text: string;
  label: string;
  readonly: boolean;
  dark: boolean;
  /** Shows what is different from this text. */
  original?: string;
  schema?: Schema;
  onchange: (text: string) => void;
}

/** What a component does with an editor. */
export interface Editor {
  text(): string;
  setText(text: string): void;
  mark(marks: readonly Mark[]): void;
  setSchema(schema: Schema | undefined): void;
  setDark(dark: boolean): void;
  setReadonly(readonly: boolean): void;
  reveal(offset: number): void;
  focus(): void;
  destroy(): void;
}

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--accent)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--good)' },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: 'var(--fault)' },
  { tag: tags.comment, color: 'var(--muted)', fontStyle: 'italic' },
  { tag: [tags.punctuation, tags.separator, tags.bracket], color: 'var(--muted)' },
]);

const look = EditorView.theme({
  '&': { height: '100%', backgroundColor: 'var(--surface)', color: 'var(--text)', fontSize: '13px' },
  '&.cm-focused': { outline: '2px solid var(--accent)', outlineOffset: '-2px' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.55', overflow: 'auto' },
  '.cm-content': { caretColor: 'var(--text)', padding: '8px 0' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '.cm-gutters': { backgroundColor: 'var(--surface)', color: 'var(--muted)', border: 'none', borderRight: '1px solid var(--line)' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'var(--sunken)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    background: 'var(--accent-soft) !important',
  },
  '.cm-matchingBracket': { backgroundColor: 'var(--accent-soft) !important', color: 'inherit !important' },
  '.cm-tooltip': {
    backgroundColor: 'var(--raised)',
    color: 'var(--text)',
    border: '1px solid var(--line)',
    borderRadius: '6px',
    boxShadow: 'var(--shadow)',
  },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', maxHeight: '16em' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '2px 8px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--accent)', color: 'var(--on-accent)' },
  '.cm-completionDetail': { color: 'inherit', opacity: '0.75', fontStyle: 'normal' },
  '.cm-completionInfo, .cm-about': { maxWidth: '42ch', padding: '8px 12px', fontFamily: 'var(--sans)', whiteSpace: 'pre-line' },
  '.cm-about b': { fontFamily: 'var(--mono)' },
  '.cm-diagnostic': { borderLeft: '3px solid var(--bad)', fontFamily: 'var(--sans)', whiteSpace: 'pre-wrap' },
  '.cm-diagnostic-warning': { borderLeftColor: 'var(--warn)' },
  '.cm-panels': { backgroundColor: 'var(--raised)', color: 'var(--text)', borderColor: 'var(--line)' },
  '.cm-panel input, .cm-panel button': {
    color: 'inherit',
    backgroundColor: 'var(--surface)',
    backgroundImage: 'none',
    border: '1px solid var(--line-strong)',
    borderRadius: '4px',
  },
  '.cm-foldPlaceholder': { backgroundColor: 'var(--sunken)', borderColor: 'var(--line)', color: 'var(--muted)' },
  '.cm-changedLine, .cm-insertedLine': { backgroundColor: 'var(--good-soft) !important' },
  '.cm-changedText': { background: 'none !important', textDecoration: 'underline', textDecorationColor: 'var(--good)' },
  '.cm-deletedChunk': { backgroundColor: 'var(--bad-soft) !important', color: 'var(--text)' },
  '.cm-deletedChunk .cm-deletedText': { background: 'none !important', textDecoration: 'line-through' },
  // The base theme's zigzag is in few fonts.
  '.cm-collapsedLines:before, .cm-collapsedLines:after': { content: '"…"' },
  '.cm-collapsedLines': { background: 'var(--sunken)', color: 'var(--muted)' },
});

/** Makes an editor. */
export function createEditor(options: Options): Editor {
  const [dark, readonly] = [new Compartment(), new Compartment()];
  let schema = options.schema;
  // What is set from outside is no change of somebody's.
  let quiet = false;
  const view = new EditorView({
    parent: options.parent,
    root: options.root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        basics(),
        dark.of(EditorView.darkTheme.of(options.dark)),
        readonly.of(locked(options.readonly)),
        EditorView.contentAttributes.of({ 'aria-label': options.label, spellcheck: 'false', autocapitalize: 'off', tabindex: '0' }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged && !quiet) options.onchange(update.state.doc.toString());
        }),
        options.original === undefined ? completion(() => schema) : compared(options.original),
        hoverTooltip((editor, offset) => about(schema, editor, offset)),
      ],
    }),
  });
  return {
    text: () => view.state.doc.toString(),
    setText(text) {
      const old = view.state.doc.toString();
      if (text === old) return;
      quiet = true;
      view.dispatch({ changes: difference(old, text) });
      quiet = false;
    },
    mark(marks) {
      const end = view.state.doc.length;
      const kept = (mark: Mark): Diagnostic => ({ ...mark, from: Math.min(mark.from, end), to: Math.min(mark.to, end) });
      view.dispatch(setDiagnostics(view.state, marks.map(kept)));
    },
    setSchema: (other) => void (schema = other),
    setDark: (on) => view.dispatch({ effects: dark.reconfigure(EditorView.darkTheme.of(on)) }),
    setReadonly: (on) => view.dispatch({ effects: readonly.reconfigure(locked(on)) }),
    reveal(offset) {
      const at = Math.min(offset, view.state.doc.length);
      view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: 'center' }) });
      view.focus();
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

function basics(): Extension {
  return [
    lineNumbers(),
    lintGutter(),
    foldGutter(),
    history(),
    drawSelection(),
    indentOnInput(),
    indentUnit.of('  '),
    bracketMatching(),
    closeBrackets(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    highlightSelectionMatches(),
    search({ top: true }),
    yaml(),
    syntaxHighlighting(colours),
    look,
    // Tab takes what is offered, and else goes on to the next thing on the page: nobody is caught here.
    keymap.of([
      { key: 'Tab', run: acceptCompletion },
      ...closeBracketsKeymap,
      ...defaultKeymap,
      ...searchKeymap,
      ...historyKeymap,
      ...foldKeymap,
      ...completionKeymap,
      ...lintKeymap,
    ]),
  ];
}

const locked = (on: boolean): Extension => [EditorState.readOnly.of(on), EditorView.editable.of(!on)];

function compared(original: string): Extension {
  return unifiedMergeView({ original, mergeControls: false, gutter: true, collapseUnchanged: { margin: 3, minSize: 6 } });
}

function completion(schema: () => Schema | undefined): Extension {
  const source = (context: CompletionContext): CompletionResult | null => {
    const known = schema();
    const position = known && positionAt(context.state.doc.toString(), context.pos);
    if (!position || (!context.explicit && position.from === context.pos && !opens(context))) return null;
    const options = suggestions(known, position).map(({ label, kind, insert, detail, info }) => ({
      label,
      type: kind === 'field' ? 'property' : 'constant',
      ...(insert === undefined ? {} : { apply: insert }),
      ...(detail ? { detail } : {}),
      ...(info ? { info } : {}),
      ...(detail === 'required' ? { boost: 2 } : {}),
    }));
    return options.length > 0 ? { from: position.from, options, validFor: /^[\w.${}%/-]*$/ } : null;
  };
  return autocompletion({ override: [source], icons: false, activateOnTyping: true, maxRenderedOptions: 200 });
}

/** After `key: `, `- ` and `{ ` what may come is shown without being asked for. */
function opens(context: CompletionContext): boolean {
  const line = context.state.doc.lineAt(context.pos);
  return /(:|-|[{[,])\s$/.test(line.text.slice(0, context.pos - line.from));
}

function about(schema: Schema | undefined, view: EditorView, offset: number): Tooltip | null {
  const found = schema && explain(schema, view.state.doc.toString(), offset);
  if (!found) return null;
  return {
    pos: found.from,
    end: found.to,
    above: true,
    create() {
      const dom = document.createElement('div');
      dom.className = 'cm-about';
      const name = dom.appendChild(document.createElement('b'));
      name.textContent = found.name;
      dom.append(`\n${found.about}`);
      return { dom };
    },
  };
}

/** The one stretch in which two texts differ: the cursor and what is marked elsewhere stay. */
function difference(old: string, text: string): { from: number; to: number; insert: string } {
  let from = 0;
  const least = Math.min(old.length, text.length);
  while (from < least && old[from] === text[from]) from++;
  let tail = 0;
  while (tail < least - from && old[old.length - 1 - tail] === text[text.length - 1 - tail]) tail++;
  return { from, to: old.length - tail, insert: text.slice(from, text.length - tail) };
}
