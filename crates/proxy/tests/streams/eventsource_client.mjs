// Listens to each scenario's stream with npm's `eventsource` until it comes back a second time, gives up, or is silent for longer
// than its patience; tells what it saw.
//
// argv: the folder that the package is in, the base address, the scenarios as JSON.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, base, scenarios] = process.argv.slice(2);
const resolve = createRequire(pathToFileURL(`${folder}/index.js`)).resolve;
const { EventSource } = await import(pathToFileURL(resolve('eventsource')).href);

function listen({ name, patience }) {
  return new Promise((done) => {
    const seen = { events: [], errors: [], opened: 0, ended: null };
    const source = new EventSource(`${base}/${name}/events`);
    let timer;
    const end = (how) => {
      clearTimeout(timer);
      source.close();
      seen.ended ??= how;
      done([name, seen]);
    };
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => end('silent'), patience);
    };
    const record = (event) => {
      alive();
      seen.events.push([event.type, event.data, event.lastEventId]);
    };
    source.addEventListener('message', record);
    for (const type of ['price', 'future_event']) source.addEventListener(type, record);
    source.addEventListener('open', () => {
      alive();
      seen.opened += 1;
      if (seen.opened === 2) end('reconnected');
    });
    source.addEventListener('error', (event) => {
      // An `error` event of the stream has data; an error of the connection has none.
      if (event.data !== undefined) return record(event);
      seen.errors.push(event.code ?? null);
      if (source.readyState === EventSource.CLOSED) end('closed');
    });
    alive();
  });
}

const reports = await Promise.all(JSON.parse(scenarios).map(listen));
console.log(JSON.stringify(Object.fromEntries(reports)));
