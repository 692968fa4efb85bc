// The unmodified npm graphql-ws client: node subscribe.mjs WS_URL QUERY [VARIABLES]. One JSON line per event.
import { createRequire } from 'node:module';
const req = createRequire(`${process.env.PARTS}/index.js`);
const { createClient } = req('graphql-ws');
const WebSocket = req('ws');
const [url, query, variables = '{}'] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  lazy: false,
  retryAttempts: 0,
  on: { connected: () => say({ event: 'connected' }), closed: (e) => say({ event: 'closed', code: e?.code, reason: e?.reason }) },
  onNonLazyError: (e) => say({ event: 'closed', code: e?.code, reason: e?.reason }),
});
client.subscribe(
  { query, variables: JSON.parse(variables) },
  {
    next: (value) => say({ event: 'next', at: performance.timeOrigin + performance.now(), ...value }),
    error: (error) => { say({ event: 'error', error: Array.isArray(error) ? error : String(error?.reason ?? error) }); },
    complete: () => say({ event: 'complete' }),
  },
);
