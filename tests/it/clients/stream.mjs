// Reads server-sent events as EventSource does: node stream.mjs URL. Connects again with the last id whenever the connection is lost.
// Folds swaps, and says after each message which it holds. One JSON line per event.
const [url] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
let lastEventId;
let retry = 100;
let held = [];
let waiting = [];

function fold(frame) {
  const { kind, block, data } = frame;
  if (kind === 'UPDATE') {
    held.push(...data.map((swap) => ({ id: swap.id, number: swap.block.number })));
  } else if (kind === 'RETRACT') {
    for (const swap of data) {
      const last = held.pop();
      if (last?.id !== swap.id) throw new Error(`${swap.id} is taken back, and ${last?.id} was last`);
    }
  } else if (kind === 'ROLLBACK') {
    held = held.filter((swap) => swap.number <= block.number);
  }
}

function take(message) {
  let [id, event, data] = [undefined, 'message', ''];
  for (const line of message.split('\n')) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === 'id') id = value;
    if (name === 'event') event = value;
    if (name === 'data') data += value;
    if (name === 'retry') retry = Math.min(Number(value), 100);
  }
  if (data === '') return;
  const frame = JSON.parse(data);
  // What has no id belongs to the next one that has it.
  if (event === 'message') waiting.push(frame);
  if (id !== undefined) {
    lastEventId = id;
    waiting.splice(0).forEach(fold);
  }
  say({ event, kind: frame.kind, freshness: frame.freshness, code: frame.code, held: held.map((swap) => swap.id) });
}

for (;;) {
  try {
    const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
    const response = await fetch(url, { headers });
    if (response.status === 200) {
      say({ event: 'open' });
      let text = '';
      waiting = [];
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        const messages = text.split('\n\n');
        text = messages.pop();
        messages.forEach(take);
      }
    }
    say({ event: 'lost', status: response.status });
  } catch (error) {
    say({ event: 'lost', error: String(error?.cause ?? error) });
  }
  await new Promise((resume) => setTimeout(resume, retry));
}
